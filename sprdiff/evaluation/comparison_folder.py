"""One comparison as a folder: the original, a picture and a file for each method, and ``results.json``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sprdiff.evaluation.comparison import MethodResult, compare
from sprdiff.evaluation.environment import environment
from sprdiff.evaluation.results import json_text, method_row
from sprdiff.images import save_png

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline
    from sprdiff.types import Progress


def write_comparison(
    image: Image.Image,
    out: Path,
    method_ids: Iterable[str],
    pipeline: SPRDiffPipeline | None,
    *,
    target_bpp: float,
    metrics: Iterable[str],
    source: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The content of ``results.json``, after ``out`` has been filled; on an error it stays as it was.

    Args:
        image: RGB, as ``sprdiff.images.load_image`` returns it; written as ``original.png``.
        out: made if it is missing; files with the names in use are replaced.
        source: the name of the image, for the record.
        method_ids, pipeline, target_bpp, metrics, progress: as for ``compare``.
    Raises:
        SPRDiffError: as ``compare`` does.
    """
    metrics = list(metrics)
    results = compare(
        image,
        method_ids,
        pipeline,
        target_bpp=target_bpp,
        metrics=metrics,
        progress=progress,
    )
    record: dict[str, Any] = {
        "source": source,
        "width": image.width,
        "height": image.height,
        "target_bpp": target_bpp,
        "fingerprint": None if pipeline is None else pipeline.fingerprint,
        "original": "original.png",
        "results": [],
        **environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".comparison-") as name:
        folder = Path(name)
        save_png(image, folder / "original.png")
        for result in results:
            record["results"].append(_write_result(result, folder, target_bpp))
        (folder / "results.json").write_text(json_text(record))
        # The record goes last: where it is, all that it names is.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == "results.json"):
            os.replace(path, out / path.name)
    return record


def _write_result(result: MethodResult, folder: Path, target_bpp: float) -> dict[str, Any]:
    # Both outputs of SPRDiff come from one stream, hence one file: it is named after the codec.
    file = result.encoded.method + result.encoded.extension
    picture = f"{result.method}.png"
    (folder / file).write_bytes(result.encoded.data)
    save_png(result.image, folder / picture)
    names = {"label": result.label, "file": file, "picture": picture}
    return method_row(result, target_bpp=target_bpp) | names
