"""Writes ``golden/``: 21 streams of the embedded checkpoint, and what each decodes to.

Run it on purpose, after the checkpoint was replaced: ``python tests/expected/make_golden_streams.py``. In the
same checkpoint a changed golden stream means that old files can no longer be read. Each stream is a file, its
symbols a hash in ``golden.json``, and its pictures, the final one under the coarse one, a lossless WebP file.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent.parent
sys.path[:0] = [str(FOLDER.parent), str(ROOT)]

from conftest import make_photo  # noqa: E402

from sprdiff import bitstream  # noqa: E402
from sprdiff.checkpoint.weights import embedded_checkpoint  # noqa: E402
from sprdiff.pipeline import SPRDiffPipeline  # noqa: E402

# Name, quality, and the part of an example (left, top) or the size alone of what is drawn.
PICTURES = [
    ("one-pixel", 128, None, (16, 16)),  # its header says 1 x 1: smaller than any encoder takes
    ("smallest", 0, None, (16, 16)),
    ("smallest-best", 255, None, (16, 16)),
    ("odd", 1, None, (17, 31)),
    ("odd-best", 255, "chelsea.png", (33, 47)),
    ("block", 64, None, (64, 64)),
    ("beyond-a-block", 200, "coffee.png", (65, 65)),
    ("face", 40, "astronaut.png", (128, 128)),
    ("face-best", 255, "astronaut.png", (128, 128)),
    ("cat", 90, "chelsea.png", (160, 120)),
    ("cup", 170, "coffee.png", (144, 112)),
    ("night", 30, "rocket.jpg", (120, 160)),
    ("drawn", 150, None, (200, 136)),
    ("portrait", 110, None, (72, 240)),
    ("panorama", 110, None, (320, 40)),
    ("black", 60, "black", (96, 80)),
    ("white", 255, "white", (80, 96)),
    ("red", 0, "red", (100, 50)),
    ("grayscale", 100, "chelsea.png", (120, 96)),
    ("two-tiles-wide", 20, None, (1090, 48)),
    ("two-tiles-high", 230, None, (33, 1060)),
]


def picture(source: str | None, size: tuple[int, int]) -> Image.Image:
    """A drawn photograph, a flat colour, or the middle of an example."""
    if source is None:
        return make_photo(*size)
    if "." not in source:
        return Image.new("RGB", size, source)
    with Image.open(ROOT / "assets" / "examples" / source) as image:
        left, top = ((whole - part) // 2 for whole, part in zip(image.size, size, strict=True))
        return image.convert("RGB").crop((left, top, left + size[0], top + size[1]))


def main() -> None:
    """Compress every picture and record its stream, symbols and pictures."""
    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    fingerprint = bytes.fromhex(pipeline.fingerprint)
    target = FOLDER / "golden"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    symbols = {}
    for name, quality, source, size in PICTURES:
        original = picture(source, size)
        data = pipeline.compress(original.convert("L") if name == "grayscale" else original, quality=quality)
        if name == "one-pixel":
            data = bitstream.pack(quality, 1, 1, bitstream.unpack(data, fingerprint)[1], fingerprint)
        decoded = pipeline.decompress(data)
        both = Image.new("RGB", (decoded.coarse.width, 2 * decoded.coarse.height))
        both.paste(decoded.coarse)
        both.paste(decoded.final, (0, decoded.coarse.height))
        (target / f"{name}.spr").write_bytes(data)
        both.save(target / f"{name}.webp", lossless=True, quality=100, method=6)
        symbols[name] = pipeline.symbols_hash(data)
    record = {"fingerprint": pipeline.fingerprint, "symbols": symbols}
    (target / "golden.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
