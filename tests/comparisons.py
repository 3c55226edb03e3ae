"""A comparison of the synthetic photograph as a folder, made by the stand-in for the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conftest import make_photo
from fakes import FakePipeline

from sprdiff.comparison.folder import write_comparison

METHODS = ["sprdiff-coarse", "sprdiff-final", "webp"]


def make_comparison(folder: Path, *more: str, target_bpp: float = 0.2) -> Path:
    """``folder``, filled by ``METHODS`` and ``more``; the name of its source wants escaping."""
    metrics = ["psnr-rgb", "ms-ssim-rgb"]
    source = "a <photo>, $5 or $6.png"
    options = {"target_bpp": target_bpp, "metrics": metrics, "source": source}
    write_comparison(make_photo(), folder, [*METHODS, *more], FakePipeline(), **options)
    return folder


def record_of(folder: Path) -> dict[str, Any]:
    """What ``results.json`` holds."""
    return json.loads((folder / "results.json").read_text())
