"""What is asked of the system's allocator."""

from __future__ import annotations

import ctypes
import os

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

KEPT_BYTES = 1536 << 20
"""That stay with the process after they were freed, at most."""
LARGEST_BLOCK = 256 << 20
"""Of those, in bytes; larger ones come from the system each time."""


def keep_freed() -> None:
    """Feature maps of tens of megabytes come from memory that was used before, where glibc is the allocator.

    By default it returns blocks of over 32 MiB to the system when they are freed, which then gives empty
    pages to the next one, page by page: that was a fifth of the time of a comparison
    (``benchmarks/comparison.py``, with ``MALLOC_PERTURB_=0`` and without). Threads share the one arena that
    can keep such blocks, those of a thread's own hold 64 MiB; so call this before threads begin. What the
    environment says (``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``) goes first.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_BLOCK)
