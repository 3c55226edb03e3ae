"""Which bitrates can be asked for: one rule for pipeline, command line, evaluation and page."""

from __future__ import annotations

import math

from sprdiff.errors import SettingsError

MAX_BPP = 24.0
"""Bits per pixel of the uncompressed original: no file needs more."""


def check_bpp(target_bpp: float) -> float:
    """The bitrate, if it is one.

    Raises:
        SettingsError: not above 0 and at most ``MAX_BPP``.
    """
    if not (math.isfinite(target_bpp) and 0 < target_bpp <= MAX_BPP):
        raise SettingsError(f"Bits per pixel must be above 0 and at most {MAX_BPP:g}, got {target_bpp:g}.")
    return target_bpp
