"""LEB128: whole numbers in as few bytes as they need, seven bits in each, low bits first.

The high bit of a byte says that more follow. Every number has exactly one form that is read.
"""

from __future__ import annotations


def write_varint(number: int) -> bytes:
    """The bytes of a number from 0 on."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def read_varint(data: bytes, start: int, name: str, *, max_bytes: int) -> tuple[int, int]:
    """The number at ``start``, and the offset of what follows it.

    Args:
        name: what errors call the number.
        max_bytes: of a longer one no more is read.
    Raises:
        ValueError: the data ends before or within it, or it is too long or not in the shortest form; the
            message is a clause.
    """
    number = 0
    for position, byte in enumerate(data[start : start + max_bytes]):
        number |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if byte == 0 and position > 0:
                raise ValueError(f"its {name} is not written in the shortest form")
            return number, start + position + 1
    if start + max_bytes <= len(data):
        raise ValueError(f"its {name} takes more than {max_bytes} bytes")
    raise ValueError(f"it ends {'within' if start < len(data) else 'before'} its {name}")
