"""The container: exact bytes, and every way in which a stream can be wrong."""

from __future__ import annotations

import hashlib
import io
import random
import zlib

import pytest
from PIL import Image

from sprdiff.bitstream import MAX_PIXELS, MAX_SIDE, Header, overhead_bytes, pack, read_header, unpack
from sprdiff.errors import BitstreamError
from sprdiff.varint import read_varint, write_varint

FINGERPRINT = hashlib.sha256(b"a checkpoint").digest()
PAYLOAD = bytes(range(7, 47))
STREAM = pack(31, 768, 512, PAYLOAD, FINGERPRINT)


def sealed(body: bytes, fingerprint: bytes = FINGERPRINT) -> bytes:
    """``body`` with a valid checksum, computed apart from the module, so that only the rest is wrong."""
    return body + (zlib.crc32(fingerprint + body) & 0xFFFFFF).to_bytes(3, "little")


def with_sizes(sizes: bytes, payload: bytes = PAYLOAD) -> bytes:
    return sealed(b"\xd5\x51" + FINGERPRINT[:2] + b"\x1f" + sizes + payload)


def test_golden_bytes():
    # Written by hand (768 = 6 * 128, 512 = 4 * 128), the checksums by a CRC-32 that goes bit by bit.
    # A change here makes every existing stream unreadable.
    digest = bytes(range(32))
    stream = pack(31, 768, 512, b"\x00payload\xff", digest)
    assert stream.hex() == "d551" + "0001" + "1f" + "8006" + "8004" + "007061796c6f6164ff" + "7fb1e6"
    assert pack(0, 127, 16, b"", digest).hex() == "d551" + "0001" + "00" + "7f" + "10" + "9ebfda"


@pytest.mark.parametrize(
    ("width", "height", "overhead"),
    [
        (1, 1, 10),
        (16, 127, 10),
        (128, 127, 11),
        (127, 128, 11),
        (768, 512, 12),
        (MAX_SIDE, 16, 11),
        (16, MAX_SIDE, 11),
    ],
)
def test_round_trip(width: int, height: int, overhead: int):
    stream = pack(255, width, height, PAYLOAD, FINGERPRINT)
    assert len(stream) - len(PAYLOAD) == overhead == overhead_bytes(width, height)
    assert unpack(stream, FINGERPRINT) == (Header(255, width, height, FINGERPRINT), PAYLOAD)
    info = read_header(stream)
    assert (info.version, info.quality, info.width, info.height) == (1, 255, width, height)
    assert not info.grayscale
    assert info.fingerprint == FINGERPRINT[:2].hex()
    assert info.num_bytes == len(stream)
    assert info.bpp == pytest.approx(8 * len(stream) / (width * height))
    assert info.rate is None


def test_a_grayscale_original_is_version_2_and_takes_no_byte_more():
    stream = pack(31, 768, 512, PAYLOAD, FINGERPRINT, grayscale=True)
    assert stream == sealed(b"\xd5\x52" + STREAM[2:-3])
    header, payload = unpack(stream, FINGERPRINT)
    assert header == Header(31, 768, 512, FINGERPRINT, grayscale=True)
    assert payload == PAYLOAD
    info = read_header(stream)
    assert (info.version, info.grayscale) == (2, True)


def test_empty_payload_is_allowed():
    assert unpack(pack(0, 16, 16, b"", FINGERPRINT), FINGERPRINT)[1] == b""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((256, 16, 16, b"", FINGERPRINT), "quality 256"),
        ((-1, 16, 16, b"", FINGERPRINT), "quality -1"),
        ((0, 0, 16, b"", FINGERPRINT), "width is 0"),
        ((0, 16, MAX_SIDE + 1, b"", FINGERPRINT), "height is 16384"),
        ((0, 8001, 8000, b"", FINGERPRINT), "64008000 pixels"),
        ((0, 16, 16, b"", FINGERPRINT[:2]), "this one has 2"),
    ],
)
def test_pack_refuses_what_it_could_not_read_back(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=message):
        pack(*arguments)


def test_every_changed_byte_is_found():
    for position in range(len(STREAM)):
        for value in range(256):
            if value != STREAM[position]:
                altered = STREAM[:position] + bytes((value,)) + STREAM[position + 1 :]
                with pytest.raises(BitstreamError):
                    unpack(altered, FINGERPRINT)


def test_every_truncation_and_extension_is_found():
    for length in range(len(STREAM)):
        with pytest.raises(BitstreamError):
            unpack(STREAM[:length], FINGERPRINT)
    with pytest.raises(BitstreamError, match=r"damaged.*added"):
        unpack(STREAM + b"\x00", FINGERPRINT)
    with pytest.raises(BitstreamError):
        unpack(STREAM + STREAM, FINGERPRINT)
    with pytest.raises(BitstreamError):
        unpack(b"\x00" + STREAM, FINGERPRINT)


def test_random_bytes_are_refused():
    generator = random.Random(20260601)
    for _ in range(3000):
        junk = generator.randbytes(generator.randrange(60))
        for data in (junk, b"\xd5\x51" + junk, STREAM[:5] + junk):
            with pytest.raises(BitstreamError):
                unpack(data, FINGERPRINT)
            try:  # without the fingerprint only the structure can be judged: an answer, or our error
                info = read_header(data)
            except BitstreamError:
                continue
            assert 1 <= info.width <= MAX_SIDE
            assert 1 <= info.height <= MAX_SIDE
            assert info.width * info.height <= MAX_PIXELS


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_picture_is_not_a_stream(format_: str):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(buffer, format_)
    for read in (read_header, lambda data: unpack(data, FINGERPRINT)):
        with pytest.raises(BitstreamError, match=r"not a \.spr stream"):
            read(buffer.getvalue())


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04" * 9, b"\xd5\x41" * 9, b"\xd5\x50" + bytes(20)])
def test_a_foreign_file_is_not_a_stream(data: bytes):
    with pytest.raises(BitstreamError, match=r"not a \.spr stream"):
        read_header(data)


@pytest.mark.parametrize(("second", "version"), [(0x53, 3), (0x5F, 15)])
def test_a_newer_version_is_named(second: int, version: int):
    stream = sealed(b"\xd5" + bytes((second,)) + STREAM[2:-3])
    for read in (read_header, lambda data: unpack(data, FINGERPRINT)):
        with pytest.raises(BitstreamError, match=f"version {version}, newer than 2"):
            read(stream)


def test_another_checkpoint_is_named():
    other = hashlib.sha256(b"another checkpoint").digest()
    with pytest.raises(
        BitstreamError, match=f"names {FINGERPRINT[:2].hex()}, the loaded one is {other[:2].hex()}"
    ):
        unpack(STREAM, other)


def test_a_checkpoint_with_the_same_first_bytes_is_found_out():
    other = FINGERPRINT[:2] + bytes(30)
    with pytest.raises(BitstreamError, match="damaged"):
        unpack(STREAM, other)


@pytest.mark.parametrize("length", [1, 2, 5, 9])
def test_a_short_stream_is_called_truncated(length: int):
    for read in (read_header, lambda data: unpack(data, FINGERPRINT)):
        with pytest.raises(BitstreamError, match=f"truncated: it has {length} bytes"):
            read(STREAM[:length])


@pytest.mark.parametrize(
    ("sizes", "payload", "message"),
    [
        (b"\x90\x00\x10", PAYLOAD, "width is not written in the shortest form"),
        (b"\x10\x90\x00", PAYLOAD, "height is not written in the shortest form"),
        (b"\x80\x80\x01\x10", PAYLOAD, "width is 16384 pixels, allowed are 1 to 16383"),
        (b"\x10\xff\xff\xff\x7f", PAYLOAD, "height takes more than 3 bytes"),
        (b"\x00\x10", PAYLOAD, "width is 0 pixels"),
        (b"\x10\x00", PAYLOAD, "height is 0 pixels"),
        (b"\xc1\x3e\xc0\x3e", PAYLOAD, "8001 x 8000, 64008000 pixels, allowed are 64000000"),
        (b"\xff\x7f\xff\x7f", PAYLOAD, "16383 x 16383"),
        (b"\x80\x06", b"", "ends before its height"),
        (b"\x10\x80", b"", "ends within its height"),
    ],
)
def test_a_bad_size_is_named_even_with_a_valid_checksum(sizes: bytes, payload: bytes, message: str):
    stream = with_sizes(sizes, payload)
    for read in (read_header, lambda data: unpack(data, FINGERPRINT)):
        with pytest.raises(BitstreamError, match=message):
            read(stream)


def test_the_largest_size_is_read():
    assert read_header(with_sizes(b"\xc0\x3e\xc0\x3e")).width == 8000


def test_a_fingerprint_is_32_bytes():
    with pytest.raises(ValueError, match="32 bytes"):
        unpack(STREAM, FINGERPRINT[:2])


@pytest.mark.parametrize(
    ("number", "length"), [(0, 1), (127, 1), (128, 2), (16383, 2), (16384, 3), (2**35 - 1, 5)]
)
def test_a_number_takes_as_few_bytes_as_it_can(number: int, length: int):
    data = write_varint(number)
    assert len(data) == length
    assert read_varint(b"\xff" + data + b"\xff", 1, "width", max_bytes=5) == (number, 1 + length)
    with pytest.raises(ValueError, match=f"its width takes more than {length - 1} bytes"):
        read_varint(data, 0, "width", max_bytes=length - 1)
    with pytest.raises(ValueError, match=f"it ends {'within' if length > 1 else 'before'} its width"):
        read_varint(data[:-1], 0, "width", max_bytes=5)
