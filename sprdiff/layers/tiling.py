"""Large pictures in overlapping tiles: memory bounded by the tile, seams hidden by linear blending."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sprdiff.decoding import GRID, DecodingSettings


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of tiles that cover ``length`` pixels, all on the grid; one span if it fits a tile.

    As few as can be, and as even: full tiles, of which the last one lay almost wholly over the one before,
    made three times the work of a picture just larger than a tile.

    Args:
        length: in pixels, divisible by GRID.
        tile: the largest length of a span.
        overlap: the least of two neighbours.
    """
    if length <= tile:
        return [(0, length)]
    count = math.ceil((length - overlap) / (tile - overlap))
    size = math.ceil((length + (count - 1) * overlap) / count / GRID) * GRID
    starts = [round((length - size) * place / (count - 1) / GRID) * GRID for place in range(count)]
    return [(start, start + size) for start in starts]


def _ramp(start: int, stop: int, length: int, overlap: int, stride: int) -> Tensor:
    """Weights along one axis: rising over the overlap with the tile before, falling over the next tile's."""
    positions = torch.arange(start, stop, stride, dtype=torch.float32) + stride / 2
    weights = torch.ones_like(positions)
    if start > 0:
        weights = torch.minimum(weights, (positions - start) / overlap)
    if stop < length:
        weights = torch.minimum(weights, (stop - positions) / overlap)
    return weights


def run_tiled(
    function: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[tuple[Tensor, int]],
    output_strides: Sequence[int],
    *,
    tile: int = DecodingSettings.tile,
    overlap: int = DecodingSettings.overlap,
    on_step: Callable[[float], None] | None = None,
) -> tuple[Tensor, ...]:
    """``function`` over a picture of any size.

    Args:
        function: takes the inputs' tiles, gives tensors (1, C, h, w) at ``output_strides``.
        inputs: tensors (1, C, H, W) with the stride in pixels of each.
        output_strides: of what ``function`` gives, in pixels.
        tile, overlap: in pixels, multiples of 64.
        on_step: called before each tile with the share that is done; what it raises ends the work.
    Returns:
        The outputs for the whole picture. One that fits a single tile is passed through untouched.
    """
    first, stride = inputs[0]
    height, width = first.shape[-2] * stride, first.shape[-1] * stride
    rows, columns = spans(height, tile, overlap), spans(width, tile, overlap)
    if len(rows) == len(columns) == 1:
        if on_step is not None:
            on_step(0.0)
        return function(*(tensor for tensor, _ in inputs))
    sums: list[Tensor] = []
    norms = [torch.zeros(height // s, width // s, device=first.device) for s in output_strides]
    tiles = list(itertools.product(rows, columns))
    for place, ((top, bottom), (left, right)) in enumerate(tiles):
        if on_step is not None:
            on_step(place / len(tiles))
        parts = function(*(t[..., top // s : bottom // s, left // s : right // s] for t, s in inputs))
        if not sums:
            sums = [
                part.new_zeros(1, part.shape[1], height // s, width // s)
                for part, s in zip(parts, output_strides, strict=True)
            ]
        for part, total, norm, s in zip(parts, sums, norms, output_strides, strict=True):
            vertical = _ramp(top, bottom, height, overlap, s)
            weights = vertical[:, None] * _ramp(left, right, width, overlap, s)[None, :]
            weights = weights.to(part)
            area = (slice(top // s, bottom // s), slice(left // s, right // s))
            total[:, :, area[0], area[1]] += part * weights
            norm[area] += weights
    return tuple(total.div_(norm) for total, norm in zip(sums, norms, strict=True))
