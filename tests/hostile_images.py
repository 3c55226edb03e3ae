"""The folder of hostile images: bombs, false headers, every mode, broken metadata, odd names.

python tests/hostile_images.py FOLDER
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from sprdiff.images import register_plugins

BOMB_SIDE = 5000
"""Side in pixels: 25 megapixels in a file of 25 kB."""
BOMB_BYTES = 100_000_000
"""Out of 100 kB."""

TIFF_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "group4", "lzma", "zstd")


def hostile_images() -> dict[str, bytes]:
    """Contents by name, which begins with ``good`` for a picture, ``bad`` for none, ``any`` for either."""
    return _bombs() | _headers() | _modes() | _metadata() | _shapes() | _not_pictures() | _tiffs() | _names()


def write_folder(folder: Path) -> None:
    """Every file of ``hostile_images``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in hostile_images().items():
        (folder / name).write_bytes(data)


def file_of(image: Image.Image, file_format: str, **options) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    image.save(file, format=file_format, **options)
    return file.getvalue()


def photo(width: int = 64, height: int = 48) -> Image.Image:
    """Smooth, RGB."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 3, y * 4, 255 - x - y], axis=-1).astype(np.uint8))


def png(width: int, height: int, pixels: bytes = b"", depth: int = 8, colour: int = 2, extra: bytes = b""):
    """A PNG with this header, whatever the compressed ``pixels`` hold."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    chunks = [png_chunk(kind, data) for kind, data in parts]
    return b"\x89PNG\r\n\x1a\n" + chunks[0] + extra + chunks[1] + chunks[2]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(count: int) -> bytes:
    """So many bytes of zero, compressed."""
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count & 0xFFFFF)), packer.flush()])


def tiff(entries: list[tuple[int, int]], data: bytes) -> bytes:
    """A little-endian TIFF with one directory of long integers, by tag; 273 and 324 get the data's place."""
    place = 8 + 2 + 12 * len(entries) + 4
    rows = b"".join(
        struct.pack("<HHII", tag, 4, 1, place if tag in (273, 324) else value) for tag, value in entries
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + data


def tiled_tiff(side: int, tile: int) -> bytes:
    """Gray, ``side`` x ``side``, in one tile of ``tile`` x ``tile``, all zeros."""
    pixels = zeros(tile * tile)
    entries = [(256, side), (257, side), (258, 8), (259, 8), (262, 1), (277, 1)]
    return tiff([*entries, (322, tile), (323, tile), (324, 0), (325, len(pixels))], pixels)


def jxl_header(width: int, height: int) -> bytes:
    """A JPEG XL codestream that ends behind its size."""
    # Bit by bit from the lowest: not in eights, 30 bits of the height, ratio free, 30 bits of the width.
    bits = 0 | 3 << 1 | (height - 1) << 3 | 0 << 33 | 3 << 36 | (width - 1) << 38
    return b"\xff\x0a" + bits.to_bytes(9, "little") + bytes(20)


def _bombs() -> dict[str, bytes]:
    many = zeros(BOMB_SIDE * BOMB_SIDE)
    small = file_of(photo(), "PNG")
    text = png_chunk(b"zTXt", b"Comment\0\0" + zeros(BOMB_BYTES))
    profile = png_chunk(b"iCCP", b"profile\0\0" + zeros(BOMB_BYTES))
    bombs = {
        "bad-bomb.png": png(BOMB_SIDE, BOMB_SIDE, many, colour=0),
        "bad-bomb-one-bit.png": png(BOMB_SIDE, BOMB_SIDE, zeros(BOMB_SIDE * BOMB_SIDE // 8), 1, 0),
        "bad-bomb-behind-a-small-header.tif": tiled_tiff(64, 16_000),
        "any-text-bomb.png": small[:33] + text + small[33:],
        "any-profile-bomb.png": small[:33] + profile + small[33:],
        "bad-icon.ico": b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, 99, 22) + many[:99],
        "bad-16000.webp": b"RIFF"
        + struct.pack("<I", 22)
        + b"WEBPVP8L"
        + struct.pack("<IBI", 10, 0x2F, 0x0FFFFFFF),
    }
    if "jpeg-xl" in register_plugins():
        bombs["bad-bomb.jxl"] = file_of(Image.new("L", (BOMB_SIDE, BOMB_SIDE)), "JXL", effort=1)
    return bombs


def _headers() -> dict[str, bytes]:
    jpeg = bytearray(file_of(photo(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65535, 65535)
    gif = bytearray(file_of(photo().quantize(16), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(file_of(photo(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 65535, 65535)
    headers = {
        "bad-65535.png": png(65535, 65535),
        "bad-65535.jpg": bytes(jpeg),
        "bad-65535.gif": bytes(gif),
        "bad-65535.bmp": bytes(bmp),
        "bad-65535.tif": tiff(
            [(256, 65535), (257, 65535), (258, 8), (259, 1), (262, 1), (273, 0)], bytes(64)
        ),
        "bad-65535.ppm": b"P6 65535 65535 255\n" + bytes(99),
        "bad-65535.tga": bytes([0, 0, 2, *bytes(9), 255, 255, 255, 255, 24, 0]) + bytes(99),
        "bad-65535.qoi": b"qoif" + struct.pack(">IIBB", 65535, 65535, 3, 0) + bytes(99),
        "bad-nothing-high.png": png(64, 0),
        "bad-negative.bmp": bytes(bmp[:18]) + struct.pack("<ii", -64, 48) + bytes(bmp[26:]),
        "bad-pixels-missing.png": png(64, 64, zeros(99)),
    }
    if "jpeg-xl" in register_plugins():
        headers["bad-65535.jxl"] = jxl_header(65535, 65535)
    return headers


def _modes() -> dict[str, bytes]:
    files = {}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"):
        image = photo().convert("L").convert(mode) if mode in ("LA", "I", "I;16") else photo().convert(mode)
        files[f"good-mode-{mode.replace(';', '-')}.png"] = file_of(image, "PNG")
    # Not YCbCr: Pillow writes such a TIFF uncompressed, and cannot read it again.
    for mode in ("CMYK", "LAB", "F", "I;16B", "RGBX"):
        image = photo().convert("L").convert(mode) if mode in ("F", "I;16B") else photo()
        if mode == "LAB":
            from PIL import ImageCms

            spaces = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
            image = ImageCms.profileToProfile(photo(), *spaces, outputMode="LAB")
        elif mode not in ("F", "I;16B"):
            image = photo().convert(mode)
        files[f"good-mode-{mode.replace(';', '-')}.tif"] = file_of(image, "TIFF")
    files["bad-not-finite.tif"] = file_of(Image.fromarray(np.full((32, 32), np.inf, np.float32)), "TIFF")
    return files


def _metadata() -> dict[str, bytes]:
    files = {}
    for name, profile in {
        "empty": b"",
        "words": b"not a profile",
        "zeros": bytes(128),
        "cut": b"\0\0\2\x0clcms\2\x10\0\0mntrRGB XYZ " + bytes(90),
        "large": b"\xff" * 3_000_000,
    }.items():
        files[f"good-profile-{name}.jpg"] = file_of(photo(), "JPEG", icc_profile=profile)
    for name, exif in {
        "words": b"Exif\0\0words",
        "far": b"Exif\0\0II*\0\xff\xff\xff\xff",
        "loop": b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\0\0\0\0",
        "turn": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x63\0\0\0\0\0\0\0",
    }.items():
        files[f"good-exif-{name}.jpg"] = file_of(photo(), "JPEG", exif=exif)
    return files


def _shapes() -> dict[str, bytes]:
    return {
        "bad-1x10000.png": file_of(Image.new("RGB", (1, 10_000)), "PNG"),
        "bad-10000x1.jpg": file_of(Image.new("RGB", (10_000, 1)), "JPEG"),
        "bad-15x15.png": file_of(Image.new("RGB", (15, 15)), "PNG"),
        "good-16x16383.png": file_of(Image.new("RGB", (16, 16_383)), "PNG"),
        **{
            f"good-animated.{kind.lower()}": file_of(
                photo(), kind, save_all=True, append_images=[Image.new("RGB", (64, 48))] * 200
            )
            for kind in ("GIF", "PNG", "WEBP")
        },
    }


def _not_pictures() -> dict[str, bytes]:
    page = b"<!DOCTYPE html><script>alert(1)</script>" * 9
    drawing = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><script>alert(1)</script></svg>'
    )
    whole = file_of(photo(), "JPEG")
    return {
        "bad-page.png": page,
        "bad-drawing.svg": drawing,
        "bad-drawing.png": drawing,
        "bad-empty.jpg": b"",
        "bad-eps.jpg": file_of(photo(), "EPS"),
        "bad-archive.png": b"PK\3\4" + bytes(99),
        "bad-half.jpg": whole[: len(whole) // 2],
        "bad-noise.png": np.random.default_rng(0).bytes(9999),
        "good-page-behind-a-picture.jpg": whole + page,
        "good-wrong-ending.gif": whole,
    }


def _tiffs() -> dict[str, bytes]:
    files = {
        f"good-{compression}.tif": file_of(
            photo().convert("1" if compression == "group4" else "RGB"), "TIFF", compression=compression
        )
        for compression in TIFF_COMPRESSIONS
    }
    pages = [Image.new("RGB", (64, 48))] * 300
    files["good-many-pages.tif"] = file_of(photo(), "TIFF", save_all=True, append_images=pages)
    entries = [(256, 64), (257, 64), (258, 8), (262, 1), (277, 1), (278, 64), (279, 4096)]
    files["bad-unknown-compression.tif"] = tiff(sorted([*entries, (259, 4242), (273, 0)]), bytes(4096))
    files["any-loop-of-pages.tif"] = _looped(file_of(photo(), "TIFF"))
    return files


def _looped(data: bytes) -> bytes:
    """A TIFF whose first directory is followed by itself."""
    start = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, start)[0]
    end = start + 2 + 12 * count
    return data[:end] + struct.pack("<I", start) + data[end + 4 :]


def _names() -> dict[str, bytes]:
    data = file_of(photo(), "PNG")
    names = [
        "<img src=x onerror=alert(1)>",
        "a b\tc",
        "..",
        "-rf",
        "'; DROP",
        "Ä日本語",
        "%2e%2e%2f",
        "a" * 240,
    ]
    return {f"good {name}.png": data for name in names}


if __name__ == "__main__":
    write_folder(Path(sys.argv[1]))
