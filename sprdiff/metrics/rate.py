"""Bytes and bits per pixel, always of the whole file and of the original size."""

from __future__ import annotations

import math

from sprdiff.errors import SettingsError


def bpp(num_bytes: int, width: int, height: int) -> float:
    """Bits per pixel of a file of ``num_bytes``; ``width`` and ``height`` in pixels, of the original."""
    return 8 * num_bytes / (width * height)


def max_bytes(target_bpp: float, width: int, height: int) -> int:
    """The byte budget of a bitrate: the most whole bytes within ``target_bpp``, 0 for very small pictures.

    Args:
        target_bpp: bits per pixel.
        width, height: of the original, in pixels.
    Raises:
        SettingsError: the bitrate is not a positive finite number.
    """
    if not (math.isfinite(target_bpp) and target_bpp > 0):
        raise SettingsError(f"The bitrate must be a positive number of bits per pixel, got {target_bpp}.")
    return math.floor(target_bpp * width * height / 8)
