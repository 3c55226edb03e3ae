"""Pictures in: any format that Pillow reads, and pictures in memory.

file, bytes or PIL image -> first frame -> colour to sRGB -> 8 bit -> alpha over white -> upright, RGB
"""

from __future__ import annotations

import functools
import io
import os
import re
import warnings
from typing import BinaryIO

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sprdiff.errors import InputImageError
from sprdiff.images.colour import to_srgb
from sprdiff.images.jpeg_xl import jxl_size
from sprdiff.images.limits import MAX_PIXELS, check_size, check_tiles

# fmt: off
FORMATS = frozenset({
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM", "PSD", "QOI",
    "SGI", "TGA", "TIFF", "WEBP",
})
# fmt: on
"""Pillow's names of what is read. Of all of these the size is known before any pixel is decoded; others hand
files to external programs (EPS), or hold pictures larger than they say (icons)."""

ImageSource = str | os.PathLike | bytes | BinaryIO | Image.Image


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An 8-bit sRGB picture, upright and opaque, without metadata.

    The EXIF orientation is applied, an ICC profile is converted to sRGB, transparency is laid over white,
    16 bit is scaled (65535 becomes 255), and of an animation the first frame is taken. Values of mode ``I``
    are 16 bit where they come from a file; in memory, and for mode ``F``, see ``_eight_bit``
    in ``images/colour.py``.

    Args:
        source: path, contents, open binary file, or a PIL image of any mode.
        max_pixels: largest width x height.
    Raises:
        InputImageError: not a picture, truncated, or outside the limits; names the limit and the value found.
    """
    image = source if isinstance(source, Image.Image) else _open(source, max_pixels)
    check_size(image.width, image.height, max_pixels)
    check_tiles(image)
    try:
        image.load()
    except Exception as error:  # decoders of broken files raise nearly anything
        raise InputImageError(f"The image file is damaged or incomplete: {error}") from error
    rgb = to_srgb(image)
    # JPEG XL has an orientation of its own, which the decoder applies, and a tag beside it means nothing;
    # except in a recompressed JPEG, of which the plugin gives the stored pixels.
    turned = image.format == "JXL" and not getattr(image, "jpeg", False)
    upright = rgb if turned else _upright(rgb, image)
    upright.info = {}
    return upright


@functools.cache
def register_plugins() -> frozenset[str]:
    """Ids of the optional Pillow plugins found here, ``jpeg-xl`` and ``heic``, after registering them."""
    found = set()
    try:
        import pillow_jxl  # noqa: F401 (registers itself)

        found.add("jpeg-xl")
    except ImportError:
        pass
    try:
        import pillow_heif

        pillow_heif.register_heif_opener()
        found.add("heic")
    except ImportError:
        pass
    return frozenset(found)


def _open(source: str | os.PathLike | bytes | BinaryIO, max_pixels: int) -> Image.Image:
    register_plugins()
    if isinstance(source, bytes | bytearray | memoryview):
        source = io.BytesIO(source)
    elif not (isinstance(source, str | os.PathLike) or hasattr(source, "read")):
        raise TypeError(f"expected a path, bytes, an open file or a PIL image, got {type(source).__name__}")
    try:
        size = _size_before_opening(source)
        if size is not None:
            check_size(*size, max_pixels)
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels; our own limit is below that and is checked by the caller.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source)
    except InputImageError:
        raise
    except Image.DecompressionBombError as error:
        found = int(re.findall(r"\d+", str(error))[0])
        raise InputImageError(
            f"The image has {found:,} pixels; at most {max_pixels:,} are coded here."
        ) from error
    except UnidentifiedImageError as error:
        raise InputImageError("This is not an image file, or its format is not supported.") from error
    except FileNotFoundError as error:
        raise InputImageError(f"There is no file {error.filename}.") from error
    except Exception as error:  # readers of broken headers raise nearly anything
        raise InputImageError(f"The image file cannot be read: {error}") from error
    if image.format not in FORMATS:
        raise InputImageError(f"Pictures in the format {image.format} are not read here; save it as PNG.")
    return image


def _size_before_opening(source: str | os.PathLike | BinaryIO) -> tuple[int, int] | None:
    """Of a JPEG XL file, whose plugin decodes all pixels when it opens one; None for any other."""
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return jxl_size(file)
    place = source.tell()
    try:
        return jxl_size(source)
    finally:
        source.seek(place)


def _upright(rgb: Image.Image, original: Image.Image) -> Image.Image:
    """``rgb`` turned as the EXIF data of ``original`` demand."""
    try:
        orientation = original.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken metadata are ignored; their parser raises nearly anything
        return rgb
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation if orientation in range(1, 9) else 1
    rgb.info = {"exif": exif.tobytes()}
    return ImageOps.exif_transpose(rgb)
