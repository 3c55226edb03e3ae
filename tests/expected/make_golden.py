"""Writes ``golden.json``: a stream of the embedded checkpoint and what it decodes to.

Run it on purpose, after the checkpoint was replaced: ``python tests/expected/make_golden.py``. In the same
checkpoint a changed golden stream means that old files can no longer be read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER.parent.parent)]

from conftest import make_photo  # noqa: E402

from sprdiff.checkpoint.weights import embedded_checkpoint  # noqa: E402
from sprdiff.metrics import psnr  # noqa: E402
from sprdiff.pipeline import SPRDiffPipeline  # noqa: E402

SIZE = (200, 136)
QUALITY = 150


def main() -> None:
    """Compress the synthetic photograph and record stream, symbols and fidelity."""
    pipeline = SPRDiffPipeline.from_pretrained(embedded_checkpoint())
    photo = make_photo(*SIZE)
    data = pipeline.compress(photo, quality=QUALITY)
    coarse = pipeline.decompress(data, coarse_only=True).coarse
    golden = {
        "fingerprint": pipeline.fingerprint,
        "header": [*SIZE, QUALITY],
        "stream": data.hex(),
        "symbols": pipeline.symbols_hash(data),
        "psnr_coarse": round(psnr(photo, coarse), 4),
    }
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=2) + "\n")


if __name__ == "__main__":
    main()
