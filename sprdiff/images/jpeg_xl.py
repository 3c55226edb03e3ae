"""The size of a JPEG XL file before it is opened: its Pillow plugin decodes all pixels when it opens one."""

from __future__ import annotations

import os
from typing import BinaryIO


def jxl_size(file: BinaryIO) -> tuple[int, int] | None:
    """Width and height of a JPEG XL file, read at its start; None for any other file.

    The size header of ISO/IEC 18181-1, with which the codestream begins. That lies bare, or in a box of
    ISO/IEC 18181-2. The picture may be turned by its own orientation, which exchanges the two.

    Raises:
        ValueError: a JPEG XL file without a size.
    """
    start = file.read(12)
    if start == b"\0\0\0\x0cJXL \r\n\x87\n":
        start = _jxl_codestream(file)
    elif not start.startswith(b"\xff\x0a"):
        return None
    if len(start) < 11 or not start.startswith(b"\xff\x0a"):
        raise ValueError("a JPEG XL file without a codestream")
    bits = int.from_bytes(start[2:11], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    in_eights = take(1)

    def side() -> int:
        return (take(5) + 1) * 8 if in_eights else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    if ratio == 0:
        return side(), height
    numerator, denominator = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * numerator // denominator, height


def _jxl_codestream(file: BinaryIO) -> bytes:
    """The first bytes of the codestream, of a file that is read as far as its first box; b"" without one."""
    while len(header := file.read(8)) == 8:
        size, kind, read = int.from_bytes(header[:4], "big"), header[4:], 8
        if size == 1:
            size, read = int.from_bytes(file.read(8), "big"), 16
        if kind == b"jxlp":
            file.read(4)  # which part it is
        if kind in (b"jxlc", b"jxlp"):
            return file.read(12)
        if size < read:  # 0: to the end of the file
            break
        file.seek(size - read, os.SEEK_CUR)
    return b""
