"""The ``.spr`` file: a header of 7 to 9 bytes, the entropy-coded payload, a checksum of 3 bytes.

    offset  size    field
    0       1       0xD5
    1       1       0x50 | version, version in 1..15: 1, or 2 if the original is grayscale
    2       2       first two bytes of the checkpoint's SHA-256 fingerprint (sprdiff.checkpoint.fingerprint)
    4       1       quality, 0 (smallest) to 255 (best)
    5       1 or 2  width of the original in pixels, 1..16383, LEB128: seven bits a byte, low bits first
    +       1 or 2  height, likewise
    +       n       payload: one rANS string that holds z, then y; n is what remains
    end-3   3       low 24 bits, low byte first, of CRC-32 over the whole fingerprint and all bytes before

At most 12 bytes beside the payload; a 768 x 512 picture at 0.01 bits per pixel has 491 in all. The checksum
covers the whole fingerprint, so a checkpoint that only shares the first two bytes is found out as well. It
overlooks one alteration in 16 million: it protects from accidents, not from forgery, and the entropy decoder
must accept any payload without crashing.

Version 2 has the layout of version 1. It says that the original is without colour, and so are the pictures
that a decoder makes of it: at these rates neither the codec nor a generative model keeps gray from a tint
by itself.

Promise: streams of versions 1 and 2 keep this layout and meaning for ever. Any change of either, and any
change in how a payload is read that the fingerprint does not capture, raises the version; readers refuse
newer ones.

Nothing here depends on a model: bytes in, bytes out. The layout is our own choice, not the paper's (arXiv
2606.01608).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from sprdiff.errors import BitstreamError
from sprdiff.types import StreamInfo
from sprdiff.varint import read_varint, write_varint

COLOUR, GRAYSCALE = 1, 2
"""The versions, by what the original is."""
VERSION = GRAYSCALE
"""The newest."""
MAX_SIDE = 16383
"""Largest width or height in pixels: what two LEB128 bytes hold; WebP among the baselines has the same."""
MAX_PIXELS = 64_000_000
"""Largest width x height, of streams and of pictures."""

_MAGIC = 0xD5
_MAGIC_2 = 0x50  # high half of the second byte; the low half is the version
_FINGERPRINT_BYTES = 32
_PREFIX_BYTES = 2
_CHECKSUM_BYTES = 3
_MAX_SIDE_BYTES = 3  # one more than a side may take, so that the error names one that is little too large
_FIXED_BYTES = 2 + _PREFIX_BYTES + 1
_MIN_BYTES = _FIXED_BYTES + 2 + _CHECKSUM_BYTES


@dataclass(frozen=True)
class Header:
    """The fields of a stream's header.

    Attributes:
        quality: 0 (smallest) to 255 (best).
        width, height: of the original, in pixels.
        fingerprint: whole SHA-256 of the checkpoint, 32 bytes; the stream stores the first two.
        grayscale: the original is without colour.
    """

    quality: int
    width: int
    height: int
    fingerprint: bytes
    grayscale: bool = False


def overhead_bytes(width: int, height: int) -> int:
    """Bytes of a stream beside its payload, 10 to 12, for an original of that size in pixels."""
    return _FIXED_BYTES + len(write_varint(width)) + len(write_varint(height)) + _CHECKSUM_BYTES


def pack(
    quality: int, width: int, height: int, payload: bytes, fingerprint: bytes, *, grayscale: bool = False
) -> bytes:
    """The whole stream around ``payload``.

    Args:
        quality: 0 to 255.
        width, height: of the original in pixels, 1 to ``MAX_SIDE`` each, at most ``MAX_PIXELS`` together.
        payload: the entropy-coded z and y.
        fingerprint: SHA-256 digest of the checkpoint that is needed to decode, 32 bytes.
        grayscale: the original is without colour.
    Raises:
        ValueError: an argument is out of its range; that is a bug of the caller, not bad input.
    """
    if not 0 <= quality <= 255:
        raise ValueError(f"quality {quality} does not fit in one byte")
    problem = size_problem(width, height)
    if problem:
        raise ValueError(problem)
    _check_fingerprint(fingerprint)
    body = b"".join(
        (
            bytes((_MAGIC, _MAGIC_2 | (GRAYSCALE if grayscale else COLOUR))),
            fingerprint[:_PREFIX_BYTES],
            bytes((quality,)),
            write_varint(width),
            write_varint(height),
            payload,
        )
    )
    return body + _checksum(body, fingerprint)


def unpack(data: bytes, fingerprint: bytes, *former: bytes) -> tuple[Header, bytes]:
    """The header and the payload of a whole, unaltered stream of the checkpoint with this fingerprint.

    Args:
        data: the stream, nothing before or after it.
        fingerprint: SHA-256 digest of the loaded checkpoint, 32 bytes.
        former: what the same checkpoint's digest was in streams made earlier, where it was another one.
    Raises:
        BitstreamError: not a stream, of a newer version or another checkpoint, truncated, damaged, or of a
            size outside the limits. All is checked before anything is allocated for the picture.
        ValueError: a fingerprint is not 32 bytes.
    """
    for each in (fingerprint, *former):
        _check_fingerprint(each)
    _check_start(data)
    found = data[2 : 2 + _PREFIX_BYTES]
    named = [each for each in (fingerprint, *former) if each[:_PREFIX_BYTES] == found]
    if not named:
        raise BitstreamError(
            f"This stream was made by another checkpoint: it names {found.hex()}, the loaded one is "
            f"{fingerprint[:_PREFIX_BYTES].hex()}."
        )
    # Before the sizes are read: a damaged size should be reported as damage.
    body = data[:-_CHECKSUM_BYTES]
    sealed = [each for each in named if _checksum(body, each) == data[-_CHECKSUM_BYTES:]]
    if not sealed:
        raise BitstreamError(
            "This stream is damaged: its checksum does not match, so bytes were changed, lost or added."
        )
    width, height, payload_start = _read_size(data)
    header = Header(data[4], width, height, bytes(sealed[0]), grayscale=_version(data) == GRAYSCALE)
    return header, bytes(body[payload_start:])


def read_header(data: bytes) -> StreamInfo:
    """The fields of a stream's header, read without its checkpoint; ``rate`` is None.

    The checksum cannot be checked without the whole fingerprint, so a damaged stream may pass here;
    ``unpack`` finds it out.

    Raises:
        BitstreamError: not a stream, of a newer version, truncated within its header, or of a size outside
            the limits.
    """
    _check_start(data)
    width, height, _ = _read_size(data)
    return StreamInfo(
        version=_version(data),
        fingerprint=data[2 : 2 + _PREFIX_BYTES].hex(),
        quality=data[4],
        width=width,
        height=height,
        num_bytes=len(data),
        bpp=8 * len(data) / (width * height),
        grayscale=_version(data) == GRAYSCALE,
    )


def _check_start(data: bytes) -> None:
    if not data:
        raise BitstreamError("This is not a .spr stream: it is empty.")
    if data[0] != _MAGIC or (len(data) > 1 and data[1] & 0xF0 != _MAGIC_2):
        raise BitstreamError("This is not a .spr stream: its first bytes are not those of one.")
    if len(data) > 1:
        version = _version(data)
        if version > VERSION:
            raise BitstreamError(
                f"This stream has version {version}, newer than {VERSION}, the newest this program reads."
            )
        if version == 0:
            raise BitstreamError("This is not a .spr stream: there is no version 0.")
    if len(data) < _MIN_BYTES:
        raise BitstreamError(
            f"This stream is truncated: it has {len(data)} bytes, a whole one at least {_MIN_BYTES}."
        )


def _version(data: bytes) -> int:
    return data[1] & 0x0F


def _read_size(data: bytes) -> tuple[int, int, int]:
    """Width, height and the offset of the payload; the fixed fields must have been checked before."""
    body = data[:-_CHECKSUM_BYTES]
    try:
        width, position = read_varint(body, _FIXED_BYTES, "width", max_bytes=_MAX_SIDE_BYTES)
        height, position = read_varint(body, position, "height", max_bytes=_MAX_SIDE_BYTES)
    except ValueError as error:
        raise BitstreamError(f"This stream is not valid: {error}.") from error
    problem = size_problem(width, height)
    if problem:
        raise BitstreamError(f"This stream is not valid: {problem}.")
    return width, height, position


def size_problem(width: int, height: int) -> str | None:
    """What is wrong with an original of this size in pixels, as a clause; None if a stream can hold it."""
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= MAX_SIDE:
            return f"its {name} is {value} pixels, allowed are 1 to {MAX_SIDE}"
    if width * height > MAX_PIXELS:
        return f"its size is {width} x {height}, {width * height} pixels, allowed are {MAX_PIXELS}"
    return None


def _checksum(body: bytes, fingerprint: bytes) -> bytes:
    return (zlib.crc32(body, zlib.crc32(fingerprint)) & 0xFFFFFF).to_bytes(_CHECKSUM_BYTES, "little")


def _check_fingerprint(fingerprint: bytes) -> None:
    if len(fingerprint) != _FINGERPRINT_BYTES:
        raise ValueError(f"a fingerprint has {_FINGERPRINT_BYTES} bytes, this one has {len(fingerprint)}")
