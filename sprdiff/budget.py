"""Which budgets can be asked for: one rule for pipeline, command line, evaluation and page."""

from __future__ import annotations

import math
from numbers import Integral, Real

from sprdiff.errors import SettingsError

MAX_BPP = 24.0
"""Bits per pixel of the uncompressed original: no file needs more."""


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
