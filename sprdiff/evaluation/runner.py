"""Many images, several methods and budgets: rows, means and settings in one folder, resumable after a kill.

The folder holds ``rows.jsonl`` (one line an image, method and budget, added as soon as it is measured),
``settings.json`` (what must not change while rows are added), and, written anew at the end of every run,
``rows.csv`` and ``summary.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.budget import check_bpp
from sprdiff.errors import InputImageError, SettingsError, SPRDiffError
from sprdiff.evaluation.comparison import DEFAULT_METRICS, check_metrics, compare
from sprdiff.evaluation.results import (
    Row,
    append_row,
    csv_text,
    environment,
    json_text,
    means,
    method_row,
    read_rows,
)
from sprdiff.files import write_file
from sprdiff.images import load_image
from sprdiff.methods import METHODS, check_methods, needs_pipeline
from sprdiff.types import Progress

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

IMAGE_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("avif", "bmp", "gif", "heic", "heif", "j2k", "jp2", "jpeg", "jpg"),
        *("jxl", "png", "ppm", "tif", "tiff", "webp"),
    )
)
"""Files with other endings are no candidates; those with these must be readable or are reported."""

_Key = tuple[str, str, str, float]


@dataclass(frozen=True)
class Evaluation:
    """What a run left in its folder.

    Attributes:
        summary: the content of ``summary.json``.
        failed: message by image, for every image that could not be read or coded; they have no new rows.
        computed: number of rows of this run; the others were there before.
    """

    summary: dict[str, Any]
    failed: dict[str, str]
    computed: int


def evaluate(
    folder: Path,
    method_ids: Iterable[str],
    bpps: Iterable[float],
    out: Path,
    *,
    pipeline: SPRDiffPipeline | None,
    metrics: Iterable[str] = DEFAULT_METRICS,
    num_inference_steps: int = 1,
    progress: Progress | None = None,
    on_failure: Callable[[str, str], None] | None = None,
) -> Evaluation:
    """Measures every image under ``folder`` and writes rows and means to ``out``; finished rows are kept.

    Args:
        folder: searched with all its sub-folders for files with ``IMAGE_SUFFIXES``.
        method_ids: keys of ``sprdiff.methods.METHODS``.
        bpps: budgets in bits per pixel.
        out: made if it is missing; may hold an earlier run with the same settings, which is continued.
        pipeline: the model; None will do for baselines alone.
        metrics: keys of ``sprdiff.metrics.METRICS``.
        num_inference_steps: diffusion steps of ``sprdiff-final``.
        progress: called with the share of the rows that are done.
        on_failure: called at once with the image and what is wrong with it; the run goes on.
    Raises:
        SettingsError: an argument out of range, no image, or ``out`` holds rows of other settings.
    """
    plan = _Plan(
        check_methods(method_ids),
        sorted({check_bpp(value) for value in bpps}),
        check_metrics(metrics),
        num_inference_steps,
        pipeline,
    )
    images = find_images(folder, out)
    out.mkdir(parents=True, exist_ok=True)
    settings = _open_settings(out / "settings.json", plan, folder)
    rows_path = out / "rows.jsonl"
    rows = {_key(row): row for row in _read_rows(rows_path)}
    before = len(rows)
    failed: dict[str, str] = {}
    current: set[tuple[str, str]] = set()

    for index, path in enumerate(images):
        name = path.relative_to(folder).as_posix()
        _report(progress, index / len(images), name)
        try:
            content = _read(path)
            digest = hashlib.sha256(content).hexdigest()
            current.add((name, digest))
            done = plan.done_rows(rows, name, digest)
            for row in _new_rows(plan, rows, name, digest, content):
                append_row(rows_path, row)
                rows[_key(row)] = row
                done += 1
                _report(progress, (index + done / plan.rows_per_image) / len(images), name)
        except SPRDiffError as error:
            failed[name] = str(error)
            if on_failure is not None:
                on_failure(name, str(error))

    # Rows of an image that has gone or changed stay in the file, but not in the averages.
    kept = [row for row in rows.values() if _key(row)[:2] in current]
    order = {method: place for place, method in enumerate(METHODS)}
    kept.sort(key=lambda row: (row["target_bpp"], row["image"], order.get(row["method"], len(order))))
    summary = {"means": means(kept), "failed": failed, "settings": settings}
    write_file(out / "rows.csv", csv_text(kept))
    write_file(out / "summary.json", json_text(summary))
    _report(progress, 1.0, "Done")
    return Evaluation(summary, failed, len(rows) - before)


@dataclass(frozen=True)
class _Plan:
    """What is to be computed for every image."""

    method_ids: list[str]
    bpps: list[float]
    metric_ids: list[str]
    num_inference_steps: int
    pipeline: SPRDiffPipeline | None

    @property
    def rows_per_image(self) -> int:
        return len(self.method_ids) * len(self.bpps)

    def missing(self, rows: Mapping[_Key, Row], name: str, digest: str, target_bpp: float) -> list[str]:
        """The methods without a row for this image and budget."""
        return [method for method in self.method_ids if (name, digest, method, target_bpp) not in rows]

    def done_rows(self, rows: Mapping[_Key, Row], name: str, digest: str) -> int:
        """How many rows of this image there are already."""
        missing = sum(len(self.missing(rows, name, digest, value)) for value in self.bpps)
        return self.rows_per_image - missing


def _new_rows(plan: _Plan, rows: Mapping[_Key, Row], name: str, digest: str, content: bytes) -> Iterator[Row]:
    """The rows of one image that are not in ``rows``, each as soon as it is measured."""
    image = None
    for target_bpp in reversed(
        plan.bpps
    ):  # if a budget is too small for the image, the others are done by then
        missing = plan.missing(rows, name, digest, target_bpp)
        if not missing:
            continue
        image = image or load_image(content)
        results = compare(
            image,
            missing,
            plan.pipeline,
            target_bpp=target_bpp,
            metrics=plan.metric_ids,
            num_inference_steps=plan.num_inference_steps,
        )
        identity = {"image": name, "sha256": digest, "width": image.width, "height": image.height}
        for result in results:
            yield identity | method_row(result, target_bpp=target_bpp)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputImageError(f"The file cannot be read: {error.strerror or error}.") from error


def find_images(folder: Path, out: Path) -> list[Path]:
    """Every image file under ``folder`` by path, without hidden ones and those in a folder ``out`` in it.

    Raises:
        SettingsError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}.")
    inside = folder.resolve() in out.resolve().parents
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not (inside and out.resolve() in path.resolve().parents)
        and path.is_file()
    ]
    if not found:
        endings = ", ".join(sorted(IMAGE_SUFFIXES))
        raise SettingsError(f"There is no image in {folder}: no file ends in one of {endings}.")
    return found


def _open_settings(path: Path, plan: _Plan, folder: Path) -> dict[str, Any]:
    """The settings with the list of runs, checked against those of earlier runs and written.

    A run of baselines alone has no fingerprint and goes with any.
    """
    pipeline = plan.pipeline if needs_pipeline(plan.method_ids) else None
    settings: dict[str, Any] = {
        "fingerprint": None if pipeline is None else pipeline.fingerprint,
        "metrics": plan.metric_ids,
        "num_inference_steps": plan.num_inference_steps,
    }
    runs = []
    if path.exists():
        try:
            earlier = json.loads(path.read_bytes())
            runs = earlier["runs"]
            changed = [key for key in settings if None not in (earlier[key], settings[key])]
            changed = [key for key in changed if earlier[key] != settings[key]]
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{path} is not a settings file of this program.") from error
        if changed:
            key = changed[0]
            raise SettingsError(
                f"{path.parent} holds rows with {key} {earlier[key]}, now it is {settings[key]}; "
                "choose another output folder."
            )
        settings["fingerprint"] = settings["fingerprint"] or earlier["fingerprint"]
    run = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "folder": str(folder),
        "methods": plan.method_ids,
        "bpps": plan.bpps,
        **environment(),
    }
    settings = {**settings, "runs": [*runs, run]}
    write_file(path, json_text(settings))
    return settings


def _read_rows(path: Path) -> list[Row]:
    try:
        rows = read_rows(path)
        for row in rows:
            _key(row)
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not a rows file of this program; choose another folder.") from error
    return rows


def _key(row: Row) -> _Key:
    return row["image"], row["sha256"], row["method"], row["target_bpp"]


def _report(progress: Progress | None, share: float, text: str) -> None:
    if progress is not None:
        progress(share, text)
