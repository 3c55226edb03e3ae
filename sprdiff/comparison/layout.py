"""Where pictures, magnified crops and captions lie on a slide: the pictures are to be as large as can be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

Box = tuple[float, float, float, float]
"""Left, bottom, width, height in inches from the lower left corner of the slide."""
Place = Literal["beside", "below"]
"""Of a crop, as seen from its picture; nothing covers a part of that, it may be half of a face."""

GAP = 0.28  # inches between columns
ROW_GAP = 0.16
INNER_GAP = 0.07  # between a picture and its crop
NARROWEST = 1.75  # a column; a name, or bytes and bpp, fit into it in small letters
CROP_RATIOS = (0.5, 2.0)
"""Width over height of a crop that was chosen automatically, at least and at most."""
_SHARES = (0.45, 0.6, 0.8)  # of a crop that is as wide, or as tall, as a part of its picture


@dataclass(frozen=True)
class Cell:
    """The place of one picture.

    Attributes:
        picture: of the whole.
        crop: beside it or below it.
        caption: left and top of the caption under both.
    """

    picture: Box
    crop: Box
    caption: tuple[float, float]


@dataclass(frozen=True)
class _Grid:
    """Columns, their width, and the sizes of what stands in a cell."""

    columns: int
    slot: float
    place: Place
    picture: tuple[float, float]
    crop: tuple[float, float]

    @property
    def used(self) -> tuple[float, float]:
        """Width and height of a picture with its crop."""
        if self.place == "beside":
            return self.picture[0] + INNER_GAP + self.crop[0], self.picture[1]
        return self.picture[0], self.picture[1] + INNER_GAP + self.crop[1]

    @property
    def score(self) -> float:
        """Both have to be seen, the whole picture a little better; and wide columns are easier to read."""
        crop = self.crop[0] * self.crop[1]
        picture = self.picture[0] * self.picture[1]
        return self.slot**0.15 * picture**0.6 * min(crop, picture) ** 0.4


def arrange(
    count: int,
    ratio: float,
    crop_ratios: tuple[float, float],
    room: Box,
    caption: Callable[[float], tuple[float, float]],
) -> tuple[list[Cell], float]:
    """The cells, line by line, and the width of a column: of all grids, that with the largest pictures.

    Args:
        count: of pictures.
        ratio: width over height of a picture.
        crop_ratios: the same of a crop, at least and at most; the choice is free between them.
        room: for all of it.
        caption: width and height in inches of the largest caption in a column of so many inches.
    """
    grids = []
    for columns in range(1, count + 1):
        lines = math.ceil(count / columns)
        slot = (room[2] - (columns - 1) * GAP) / columns
        if math.ceil(count / lines) < columns or (columns > 1 and slot < NARROWEST):
            continue
        height = (room[3] - (lines - 1) * ROW_GAP) / lines - caption(slot)[1]
        if height > 3 * INNER_GAP:
            for place in ("beside", "below"):
                for picture, crop in _fits(slot, height, ratio, crop_ratios, place):
                    grids.append(_Grid(columns, slot, place, picture, crop))
    grid = max(grids, key=lambda grid: grid.score)
    return _cells(count, grid, room, *caption(grid.slot)), grid.slot


def _fits(
    width: float, height: float, ratio: float, crop_ratios: tuple[float, float], place: Place
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Width and height of the picture, and of the crop, in a cell of this size: some that fill it."""
    low, high = crop_ratios
    if place == "beside":
        # As tall as the picture, or a share of its width.
        tall = min(height, (width - INNER_GAP) / (ratio + low))
        yield (ratio * tall, tall), (min(width - INNER_GAP - ratio * tall, high * tall), tall)
        for share in _SHARES:
            tall = min(height, (width - INNER_GAP) / (ratio * (1 + share)))
            across = min(share * ratio * tall, high * tall)
            yield (ratio * tall, tall), (across, min(tall, across / low))
    else:
        wide = min(width, (height - INNER_GAP) / (1 / ratio + 1 / high))
        yield (wide, wide / ratio), (wide, min(height - INNER_GAP - wide / ratio, wide / low))
        for share in _SHARES:
            wide = min(width, (height - INNER_GAP) * ratio / (1 + share))
            down = min(share * wide / ratio, wide / low)
            yield (wide, wide / ratio), (min(wide, high * down), down)


def _cells(count: int, grid: _Grid, room: Box, caption_width: float, caption_height: float) -> list[Cell]:
    lines = math.ceil(count / grid.columns)
    used_width, used_height = grid.used
    # In the middle of its column, unless its caption would leave it.
    left = room[0] + max(0.0, min((grid.slot - used_width) / 2, grid.slot - caption_width))
    pitch = used_height + caption_height + ROW_GAP
    spare = room[3] + ROW_GAP - lines * pitch
    # What is left over lies between the lines, and around all of them.
    pitch += min(0.3, spare / (lines + 1))
    top = room[1] + room[3] - (room[3] + ROW_GAP - lines * pitch) / 2
    cells = []
    for index in range(count):
        x = left + (index % grid.columns) * (grid.slot + GAP)
        y = top - (index // grid.columns) * pitch
        picture = (x, y - grid.picture[1], *grid.picture)
        if grid.place == "below":
            crop = (x, y - used_height, *grid.crop)
        else:
            crop = (x + used_width - grid.crop[0], y - grid.crop[1], *grid.crop)
        cells.append(Cell(picture, crop, (x, y - used_height)))
    return cells
