"""The best stream within a budget: bisection over quality, then the bytes that are left are used up."""

from __future__ import annotations

import math
from collections.abc import Callable

from sprdiff.budget import best_quality, check_bpp, check_whole
from sprdiff.errors import SettingsError
from sprdiff.layers.quality import MAX_QUALITY
from sprdiff.metrics.rate import max_bytes as budget_bytes

# Of the logarithm of the size with a step of quality: over all of them it grows some sixtyfold.
_GROWTH = math.log(60) / MAX_QUALITY
# Of a budget, and the highest price of a bit at which less is given up than a step of quality brings.
LEAST_USE = 0.97
MAX_EXTRA_PRICE = 0.008
_ONE_OF_THREE = "Give exactly one of target_bpp, quality and max_bytes."


def check_budget(target_bpp: float | None, quality: int | None, max_bytes: int | None) -> None:
    """Passes if exactly one is given, and in its range.

    Raises:
        SettingsError: names the argument, its value and what is allowed.
    """
    if sum(value is not None for value in (target_bpp, quality, max_bytes)) != 1:
        raise SettingsError(_ONE_OF_THREE)
    if target_bpp is not None:
        check_bpp(target_bpp, "target_bpp")
    if quality is not None:
        check_whole(quality, 0, MAX_QUALITY, "quality")
    if max_bytes is not None:
        check_whole(max_bytes, 0, None, "max_bytes")


def bytes_allowed(target_bpp: float | None, max_bytes: int | None, width: int, height: int) -> int:
    """The budget in bytes, whichever way it is given, for an original of that size in pixels.

    Raises:
        SettingsError: it is given in neither way.
    """
    if target_bpp is not None:
        return budget_bytes(target_bpp, width, height)
    if max_bytes is None:
        raise SettingsError(_ONE_OF_THREE)
    return max_bytes


def best_within(code: Callable[[int, float], bytes], max_bytes: int) -> tuple[int, bytes]:
    """The best stream within a budget, and its quality; that of quality 0, which is larger, where none fits.

    Args:
        code: (quality, bit price) to a stream; see :meth:`LatentCodec.quantize`.
    """
    found = best_quality(
        lambda quality: code(quality, 0.0),
        max_bytes,
        lowest=0,
        highest=MAX_QUALITY,
        first=MAX_QUALITY // 2,
        growth=_GROWTH,
    )
    return fill_budget(code, *found, max_bytes)


def fill_budget(
    code: Callable[[int, float], bytes], quality: int, data: bytes, max_bytes: int
) -> tuple[int, bytes]:
    """What was found, or the next quality with so many symbols given up that it fits.

    At a few hundred bytes one step of quality can be worth 4 % of them. Tried only where more than
    1 - ``LEAST_USE`` is left: a symbol that is given up costs more than it saves (docs/experiments.md).

    Args:
        code: (quality, bit price) to a stream; see :meth:`LatentCodec.quantize`.
        quality, data: the best that fits at no price.
    """
    if quality == MAX_QUALITY or not len(data) < LEAST_USE * max_bytes:
        return quality, data
    low, high = 0.0, MAX_EXTRA_PRICE
    best = (quality, data)
    for _ in range(6):
        price = (low + high) / 2
        candidate = code(quality + 1, price)
        if len(candidate) > max_bytes:
            low = price
        else:
            high = price
            best = max(best, (quality + 1, candidate), key=lambda found: len(found[1]))
    return best
