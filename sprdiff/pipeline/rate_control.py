"""The best stream within a budget: bisection over quality, then the bytes that are left are used up."""

from __future__ import annotations

import math
from collections.abc import Callable

from sprdiff.budget import check_bpp, check_whole
from sprdiff.errors import SettingsError
from sprdiff.layers.quality import MAX_QUALITY

# Of a budget, and the highest price of a bit at which less is given up than a step of quality brings.
LEAST_USE = 0.97
MAX_EXTRA_PRICE = 0.008


def check_budget(target_bpp: float | None, quality: int | None, max_bytes: int | None) -> None:
    """Passes if exactly one is given, and in its range.

    Raises:
        SettingsError: names the argument, its value and what is allowed.
    """
    if sum(value is not None for value in (target_bpp, quality, max_bytes)) != 1:
        raise SettingsError("Give exactly one of target_bpp, quality and max_bytes.")
    if target_bpp is not None:
        check_bpp(target_bpp, "target_bpp")
    if quality is not None:
        check_whole(quality, 0, MAX_QUALITY, "quality")
    if max_bytes is not None:
        check_whole(max_bytes, 0, None, "max_bytes")


def best_within(code: Callable[[int], bytes], max_bytes: int) -> tuple[int, bytes]:
    """The highest quality whose stream fits ``max_bytes``, and the stream; quality 0 if none does.

    Bisection on real streams, sped up by a guess: over quality the logarithm of the size is almost a
    straight line, so the first steps go where that line crosses the budget.
    """
    tried: dict[int, bytes] = {}

    def size(at: int) -> int:
        if at not in tried:
            tried[at] = code(at)
        return len(tried[at])

    low, high = -1, MAX_QUALITY + 1  # low fits, high does not
    slope, guess = math.log(60) / MAX_QUALITY, MAX_QUALITY // 2
    while high - low > 1:
        guess = min(max(guess, low + 1), high - 1)
        distance = math.log(max_bytes) - math.log(size(guess)) if max_bytes > 0 else -1.0
        if size(guess) <= max_bytes:
            low = guess
        else:
            high = guess
        if len(tried) > 6:
            guess = (low + high) // 2
        else:
            guess += math.floor(distance / slope) if distance >= 0 else math.ceil(distance / slope) - 1
            if guess in tried:
                guess = low + 1 if guess <= low else high - 1
    best = max(low, 0)
    size(best)
    return best, tried[best]


def fill_budget(
    code: Callable[[int, float], bytes], quality: int, data: bytes, max_bytes: int
) -> tuple[int, bytes]:
    """What :func:`best_within` found, or the next quality with so many symbols given up that it fits.

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
