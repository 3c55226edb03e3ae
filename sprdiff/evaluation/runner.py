"""Many images, several methods and budgets: rows, means and settings in one folder, resumable after a kill.

The folder holds ``rows.jsonl`` (one line an image, method and budget, added as soon as it is measured),
``settings.json`` (what must not change while rows are added, and the runs), and, written anew at the end of
every run, ``rows.csv`` and ``summary.json``; ``files/`` has the compressed files where they are kept.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.budget import check_bpp
from sprdiff.comparison.compare import DEFAULT_METRICS
from sprdiff.comparison.rows import Row, json_text
from sprdiff.errors import SettingsError
from sprdiff.evaluation.datasets import find_images
from sprdiff.evaluation.parallel import (
    Load,
    gather,
    launched,
    measure_in_processes,
    part_path,
    part_paths,
)
from sprdiff.evaluation.plan import Plan, row_key
from sprdiff.evaluation.results import append_rows, csv_text, means, read_rows
from sprdiff.evaluation.set_metrics import check_all_metrics, measure_sets
from sprdiff.evaluation.settings import check_settings, read_settings, write_settings
from sprdiff.evaluation.worker import measure_images
from sprdiff.files import write_file
from sprdiff.methods import METHODS, check_methods, check_pipeline, needs_pipeline
from sprdiff.types import Progress

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline


@dataclass(frozen=True)
class Evaluation:
    """What a run left in its folder.

    Attributes:
        summary: the content of ``summary.json``.
        failed: message by image, for every image that could not be read or coded, and by method where its
            weights could not be had; they have no new rows.
        computed: number of rows of this run; the others were there before.
        is_main: False in the other processes of ``accelerate launch``, which have nothing to show.
    """

    summary: dict[str, Any]
    failed: dict[str, str]
    computed: int
    is_main: bool = True


def evaluate(
    folder: Path,
    method_ids: Iterable[str],
    bpps: Iterable[float],
    out: Path,
    *,
    pipeline: SPRDiffPipeline | None,
    metrics: Iterable[str] = DEFAULT_METRICS,
    keep: bool = False,
    jobs: int = 1,
    load: Load | None = None,
    model: str | None = None,
    progress: Progress | None = None,
    on_failure: Callable[[str, str], None] | None = None,
) -> Evaluation:
    """Measures every image under ``folder`` and writes rows and means to ``out``; finished rows are kept.

    Rows of SPRDiff that were made with another checkpoint count as not finished. Under ``accelerate
    launch`` every process calls this and does its share; all get the same result.

    Args:
        folder: searched with all its sub-folders for files with ``datasets.IMAGE_SUFFIXES``.
        method_ids: keys of ``sprdiff.methods.METHODS``.
        bpps: budgets in bits per pixel.
        out: made if it is missing; may hold an earlier run with the same settings, which is continued.
        pipeline: the model; None will do for baselines alone.
        metrics: keys of ``sprdiff.metrics.METRICS``, ``fid`` and ``kid``.
        keep: leave every compressed file in ``out``; FID and KID do so in any case.
        jobs: processes on this machine.
        load: makes the model in each of several ``jobs``; not needed for baselines alone.
        model: what the model is called, for the record.
        progress: called with the share of the rows that are done.
        on_failure: called at once with the image and what is wrong with it; the run goes on.
    Raises:
        SettingsError: an argument out of range, no image, or ``out`` holds rows of other settings.
    """
    # 1. What is to be done, and whether it fits what is there
    plan = _plan(method_ids, bpps, metrics, pipeline, out, keep)
    progress, on_failure = progress or (lambda share, text: None), on_failure or (lambda name, message: None)
    paths = find_images(folder, out)
    settings_path, rows_path = out / "settings.json", out / "rows.jsonl"
    earlier = read_settings(settings_path)
    check_settings(earlier, plan)
    if plan.fingerprint is None and earlier is not None:  # baselines alone go with any checkpoint
        plan = replace(plan, fingerprint=earlier["fingerprint"])
    state = launched()
    is_main = state is None or state.is_main_process
    out.mkdir(parents=True, exist_ok=True)

    # 2. The rows at hand; those of a killed run lie in parts
    parts = part_paths(out)
    known = gather(state, [row for path in (rows_path, *parts) for row in _read_rows(path)])
    rows = plan.current(known)
    if is_main:
        append_rows(rows_path, [row for path in parts for row in _read_rows(path)])
        for path in parts:
            path.unlink()
        processes = jobs if state is None else state.num_processes
        settings = write_settings(settings_path, earlier, plan, folder, processes, model)
    if state is not None:
        state.wait_for_everyone()  # no process writes a part before the old ones are removed

    # 3. The rows that are missing
    measure = functools.partial(measure_images, progress=progress, on_failure=on_failure)
    if state is not None:
        index, count = state.process_index, state.num_processes
        own_path = part_path(out, index)
        own = measure(plan, paths[index::count], folder, rows, own_path, pipeline)
        shares = gather(state, [own])
    elif jobs > 1:
        shares = measure_in_processes(
            plan, paths, folder, rows, load or _no_model, jobs, progress=progress, on_failure=on_failure
        )
    else:
        shares = [measure(plan, paths, folder, rows, rows_path, pipeline)]
    new = [row for share in shares for row in share.rows]
    failed = {name: message for share in shares for name, message in sorted(share.failed.items())}
    if state is not None and not state.is_main_process:
        state.wait_for_everyone()
        part_path(out, state.process_index).unlink(missing_ok=True)  # where machines share no disk
        return Evaluation({}, failed, len(new), is_main=False)
    if state is not None or jobs > 1:
        append_rows(rows_path, new)
        for path in part_paths(out):
            path.unlink()
    if state is not None:
        state.wait_for_everyone()

    # 4. Tables. Rows of an image that has gone or changed stay in the file, but not in the averages.
    rows |= {row_key(row): row for row in new}
    images = set().union(*(share.images for share in shares))
    kept = [row for row in rows.values() if (row["image"], row["sha256"]) in images]
    order = {method: place for place, method in enumerate(METHODS)}
    kept.sort(key=lambda row: (row["target_bpp"], row["image"], order.get(row["method"], len(order))))
    averages = means(kept)
    measure_sets(plan, averages, kept, folder, pipeline, progress=lambda text: progress(1.0, text))
    summary = {"dataset": folder.resolve().name, "means": averages, "failed": failed, "settings": settings}
    write_file(out / "rows.csv", csv_text(kept))
    write_file(out / "summary.json", json_text(summary))
    progress(1.0, "Done")
    return Evaluation(summary, failed, len(new))


def _plan(
    method_ids: Iterable[str],
    bpps: Iterable[float],
    metrics: Iterable[str],
    pipeline: SPRDiffPipeline | None,
    out: Path,
    keep: bool,
) -> Plan:
    method_ids = check_methods(method_ids)
    metric_ids, set_metric_ids = check_all_metrics(metrics)
    check_pipeline(method_ids, pipeline)
    return Plan(
        method_ids=tuple(method_ids),
        bpps=tuple(sorted({check_bpp(value) for value in bpps})),
        metric_ids=tuple(metric_ids),
        set_metric_ids=tuple(set_metric_ids),
        fingerprint=pipeline.fingerprint if pipeline and needs_pipeline(method_ids) else None,
        out=out,
        keep=keep or bool(set_metric_ids),
    )


def _no_model() -> None:
    """The model of a process that measures baselines alone."""


def _read_rows(path: Path) -> list[Row]:
    try:
        rows = read_rows(path)
        for row in rows:
            row_key(row), row["fingerprint"]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not a rows file of this program; choose another folder.") from error
    return rows
