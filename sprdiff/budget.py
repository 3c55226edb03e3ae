"""Bitrates and bytes: always of the whole file and of the size of the original."""

from __future__ import annotations

import math

from sprdiff.errors import SettingsError

MAX_BPP = 24.0
"""Bits per pixel of the uncompressed original: a larger budget is a slip of the pen."""


def check_bpp(target_bpp: float) -> float:
    """The bitrate, if it is one.

    Raises:
        SettingsError: not above 0 and at most ``MAX_BPP``.
    """
    if not (math.isfinite(target_bpp) and 0 < target_bpp <= MAX_BPP):
        raise SettingsError(f"Bits per pixel must be above 0 and at most {MAX_BPP:g}, got {target_bpp:g}.")
    return target_bpp


def max_bytes_for(target_bpp: float, width: int, height: int) -> int:
    """The most whole bytes within ``target_bpp`` for an original of that size in pixels; 0 for tiny ones.

    Raises:
        SettingsError: as ``check_bpp``.
    """
    return math.floor(check_bpp(target_bpp) * width * height / 8)


def bits_per_pixel(num_bytes: int, width: int, height: int) -> float:
    """8 x ``num_bytes`` / (``width`` x ``height``), for an original of that size in pixels."""
    return 8 * num_bytes / (width * height)
