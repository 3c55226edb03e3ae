"""How large a picture may be. The longest side and the most pixels are those that a stream can hold."""

from __future__ import annotations

from PIL import Image, TiffImagePlugin

from sprdiff.bitstream import MAX_PIXELS, MAX_SIDE
from sprdiff.errors import InputImageError

__all__ = ["MAX_PIXELS", "MAX_SIDE", "MAX_TILE_PIXELS", "MIN_SIDE", "check_size", "check_tiles"]

MIN_SIDE = 16
"""Shortest side in pixels."""
MAX_TILE_PIXELS = 16_777_216
"""Largest width x height of a tile of a TIFF."""


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Passes if both sides and the area lie within the limits.

    Args:
        max_pixels: largest width x height.
    Raises:
        InputImageError: names the limit and the size.
    """
    if min(width, height) < MIN_SIDE:
        raise InputImageError(
            f"The image is {width} x {height} pixels; each side must have at least {MIN_SIDE}."
        )
    if max(width, height) > MAX_SIDE:
        raise InputImageError(f"The image is {width} x {height} pixels; no side may exceed {MAX_SIDE}.")
    if width * height > max_pixels:
        raise InputImageError(
            f"The image is {width} x {height} = {width * height:,} pixels; at most {max_pixels:,} are coded "
            "here."
        )


def check_tiles(image: Image.Image) -> None:
    """Passes unless this is a TIFF with larger tiles than ``MAX_TILE_PIXELS``.

    Each is decoded whole, however little of it the picture shows: 249 kB held 256 MB for 64 x 64 pixels.

    Raises:
        InputImageError: names the limit and the size of the tiles.
    """
    tags = getattr(image, "tag_v2", {})
    sides = [tags.get(tag, 1) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
    if all(isinstance(side, int) for side in sides) and sides[0] * sides[1] > MAX_TILE_PIXELS:
        raise InputImageError(
            f"The image has tiles of {sides[0]} x {sides[1]} pixels; at most {MAX_TILE_PIXELS:,} allowed."
        )
