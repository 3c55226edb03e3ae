"""Which budgets can be asked for, and the best file within one.

One rule for pipeline, baselines, command line, evaluation and page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real

from sprdiff.errors import SettingsError

MAX_BPP = 24.0
"""Bits per pixel of the uncompressed original: no file needs more."""
_GUIDED_TRIES = 6


def check_bpp(target_bpp: float, name: str = "Bits per pixel") -> float:
    """The bitrate, if it is one.

    Args:
        name: what the error calls it.
    Raises:
        SettingsError: no number, or not above 0 and at most ``MAX_BPP``.
    """
    number = isinstance(target_bpp, Real) and not isinstance(target_bpp, bool)
    if not (number and math.isfinite(target_bpp) and 0 < target_bpp <= MAX_BPP):
        found = f"{target_bpp:g}" if number else repr(target_bpp)
        raise SettingsError(f"{name} must be a number above 0 and at most {MAX_BPP:g}, got {found}.")
    return target_bpp


def check_whole(value: int, least: int, most: int | None, name: str) -> int:
    """The whole number, if it is one from ``least`` to ``most``.

    Args:
        most: None for no limit.
        name: what the error calls it.
    Raises:
        SettingsError: it is not.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and least <= value and (most is None or value <= most)):
        limits = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise SettingsError(f"{name} must be a whole number {limits}, got {value!r}.")
    return int(value)


def best_quality(
    code: Callable[[int], bytes],
    max_bytes: int,
    *,
    lowest: int,
    highest: int,
    first: int,
    growth: float | None = None,
) -> tuple[int, bytes]:
    """The highest quality whose file fits ``max_bytes``, and the file; the lowest quality if none does.

    A search on real files, which should grow with quality.

    Args:
        code: a quality to its file.
        lowest, highest: qualities to choose from.
        first: the one that is tried first.
        growth: of the logarithm of the size with a step of quality, about. The first tries then go where that
            line crosses the budget, or the one between the nearest files on both sides of it; without it,
            half way between them.
    """
    files: dict[int, bytes] = {}
    low, high, quality = lowest - 1, highest + 1, first  # low fits, high does not
    while high - low > 1:
        quality = min(max(quality, low + 1), high - 1)
        data = files[quality] = code(quality)
        if len(data) <= max_bytes:
            low = quality
        else:
            high = quality
        if growth is None or len(files) > _GUIDED_TRIES:
            quality = (low + high) // 2
        elif low in files and high in files:
            size = len(files[low])
            share = math.log(max_bytes / size) / math.log(len(files[high]) / size)
            quality = low + round(share * (high - low))
        else:
            steps = math.log(max(max_bytes, 1) / len(data)) / growth
            quality += math.floor(steps) if steps >= 0 else math.ceil(steps) - 1
    best = max(low, lowest)
    return best, files[best]
