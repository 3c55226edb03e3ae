"""One comparison as a folder: the original, a picture and a file for each method, and ``results.json``."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sprdiff.comparison.compare import CODING_SHARE, MethodResult, check_metrics, code, part
from sprdiff.comparison.environment import environment
from sprdiff.comparison.rows import Row, json_text, method_row, metric_fields
from sprdiff.images import save_png
from sprdiff.metrics import measure

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
    coding: AbstractContextManager | None = None,
    measuring: AbstractContextManager | None = None,
) -> dict[str, Any]:
    """The content of ``results.json``, after ``out`` has been filled; on an error it stays as it was.

    Args:
        image: RGB, as ``sprdiff.images.load_image`` returns it; written as ``original.png``.
        out: made if it is missing; files with the names in use are replaced.
        source: the name of the image, for the record.
        method_ids, pipeline, target_bpp: as for ``code``.
        metrics: keys of ``sprdiff.metrics.METRICS``.
        progress: called with the share of the work that is done and what comes next.
        coding, measuring: entered while methods code, and while pictures are measured.
    Raises:
        SPRDiffError: as ``code`` does.
    """
    metrics = check_metrics(metrics)
    on_code, on_measure = part(progress, 0, CODING_SHARE), part(progress, CODING_SHARE, 1)
    coded = code(image, method_ids, pipeline, target_bpp=target_bpp, progress=on_code)
    rows: list[Row] = []
    record: dict[str, Any] = {
        "source": source,
        "width": image.width,
        "height": image.height,
        "target_bpp": target_bpp,
        "fingerprint": None if pipeline is None else pipeline.fingerprint,
        "original": "original.png",
        "results": rows,
        **environment(),
    }
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".comparison-") as name:
        folder = Path(name)
        save_png(image, folder / "original.png")
        with coding or contextlib.nullcontext():
            rows.extend(_write_result(result, folder, target_bpp) for result in coded)
        with measuring or contextlib.nullcontext():
            for index, row in enumerate(rows):
                on_measure(index / len(rows), f"{row['label']}: measuring")
                # From the file, so that not every picture has to be held until then.
                with Image.open(folder / row["picture"]) as picture:
                    row.update(metric_fields(measure(image, picture, metrics)))
        on_measure(1.0, "Done")
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
