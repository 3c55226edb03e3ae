"""Which part of a picture is magnified: the one asked for, or that in which the methods differ most."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from sprdiff.errors import SettingsError

Crop = tuple[float, float, float, float]
"""Left, top, right, bottom as shares of the sides, in [0, 1]."""

MIN_PIXELS = 8
"""Sides of a crop at least: of fewer pixels nothing can be seen."""
_SHARE = 1 / 16  # of the picture's area
_MAP_SIDE = 192  # differences are measured at this size, so that a few pixels of high contrast do not decide


def check_crop(crop: Sequence[float]) -> Crop:
    """The crop, if it is one.

    Raises:
        SettingsError: not four numbers, or not left < right and top < bottom within the picture.
    """
    numbers = [float(value) for value in crop if isinstance(value, int | float) and math.isfinite(value)]
    if len(numbers) != 4 or len(crop) != 4:
        raise SettingsError("A crop is four numbers from 0 to 1: left, top, right, bottom.")
    left, top, right, bottom = numbers
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise SettingsError(f"The crop {left:g},{top:g},{right:g},{bottom:g} does not lie in the picture.")
    return left, top, right, bottom


def crop_of_pixels(numbers: Sequence[float], size: tuple[int, int]) -> Crop:
    """The crop that left, top, width and height in pixels mean in a picture of this size (width, height).

    Raises:
        SettingsError: not four whole numbers, fewer than 8 pixels a side, or not within the picture.
    """
    if len(numbers) != 4 or not all(float(number).is_integer() for number in numbers):
        raise SettingsError("A crop is four whole numbers of pixels: left, top, width, height.")
    left, top, width, height = (int(number) for number in numbers)
    if min(width, height) < MIN_PIXELS:
        raise SettingsError(f"A crop has at least {MIN_PIXELS} pixels a side, got {width} x {height}.")
    if min(left, top) < 0 or left + width > size[0] or top + height > size[1]:
        raise SettingsError(
            f"The crop {left},{top},{width},{height} does not lie in the picture of {size[0]} x {size[1]} "
            "pixels."
        )
    return left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1]


def pixel_box(crop: Crop, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom in pixels of a picture of this size; at least 8 a side, if it has them."""
    sides = []
    for start, end, length in ((crop[0], crop[2], size[0]), (crop[1], crop[3], size[1])):
        first, last = math.floor(start * length), math.ceil(end * length)
        first = max(0, min(first, length - MIN_PIXELS))
        sides.append((first, min(length, max(last, first + MIN_PIXELS))))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def telling_crop(original: Image.Image, pictures: Iterable[Image.Image], ratio: float) -> Crop:
    """The part in which the pictures differ most from each other; one picture alone, from the original.

    Differences are standard deviations over the pictures, of pixels reduced to 192 a side.

    Args:
        original: RGB.
        pictures: what the methods made of it, RGB, of its size.
        ratio: width over height of the part in pixels, which has a sixteenth of the picture's area.
    """
    columns, rows = (min(side, _MAP_SIDE) for side in original.size)
    maps = [_reduced(picture, columns, rows) for picture in pictures]
    if len(maps) < 2:
        maps.append(_reduced(original, columns, rows))
    spread = np.std(np.stack(maps), axis=0).sum(-1)

    area = _SHARE * original.width * original.height
    wide = min(math.sqrt(area * ratio), original.width, original.height * ratio) / original.width
    tall = wide * original.width / ratio / original.height
    window = (min(rows, max(1, round(tall * rows))), min(columns, max(1, round(wide * columns))))
    sums = np.lib.stride_tricks.sliding_window_view(spread, window).sum((2, 3))
    lefts, tops = np.arange(sums.shape[1]) / columns, np.arange(sums.shape[0]) / rows
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    x, y = min(float(lefts[left]), 1 - wide), min(float(tops[top]), 1 - tall)
    return x, y, min(1.0, x + wide), min(1.0, y + tall)


def _reduced(image: Image.Image, columns: int, rows: int) -> np.ndarray:
    """(rows, columns, 3) float32 in [0, 255]."""
    return np.asarray(image.resize((columns, rows), Image.Resampling.BOX), dtype=np.float32)
