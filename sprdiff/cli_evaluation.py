"""The commands that measure many images and show what came out: ``evaluate | plot | report``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from sprdiff import cli_texts as texts
from sprdiff import console
from sprdiff.budget import check_bpp
from sprdiff.cli_options import (
    METHODS,
    METRICS,
    Json,
    Methods,
    Metrics,
    Model,
    Steps,
    load_pipeline,
    number,
    split,
)
from sprdiff.errors import SettingsError
from sprdiff.files import check_folder


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    bpp: Annotated[str, typer.Option(help="Budgets in bits per pixel, separated by commas.")],
    out: Annotated[Path, typer.Option(help="Folder for rows and means; an earlier run in it is continued.")],
    methods: Methods = METHODS,
    metrics: Metrics = METRICS,
    steps: Steps = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave every compressed file in the folder.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    model: Model = None,
    as_json: Json = False,
) -> int:
    """Measure methods on every image of a folder; exit code 1 if images had to be skipped.

    Over several machines or GPUs: accelerate launch -m sprdiff evaluate ..., with a folder for the results
    that all of them see.
    """
    bpps = [check_bpp(number(value)) for value in split(bpp)]
    if not folder.is_dir():
        raise SettingsError(f"There is no folder {folder}.")
    check_folder(out)
    with console.progress_bar(lines_when_piped=True) as progress:
        from sprdiff.evaluation.datasets import find_images
        from sprdiff.evaluation.parallel import launched
        from sprdiff.evaluation.runner import evaluate as run
        from sprdiff.evaluation.set_metrics import check_all_metrics
        from sprdiff.methods import check_methods, needs_pipeline

        method_ids, metric_ids = check_methods(split(methods)), split(metrics)
        check_all_metrics(metric_ids)
        find_images(folder, out)
        pipeline, load = None, None
        if needs_pipeline(method_ids):
            pipeline, load = load_pipeline(model, progress), functools.partial(load_pipeline, model)
        group = launched()
        if group is not None and pipeline is not None:
            pipeline.to(group.device)
        evaluation = run(
            folder,
            method_ids,
            bpps,
            out,
            pipeline=pipeline,
            metrics=metric_ids,
            num_inference_steps=steps or 1,
            keep=keep,
            jobs=jobs,
            load=load,
            model=model,
            progress=progress if group is None or group.is_main_process else None,
            on_failure=lambda name, message: console.fail(f"{name}: {message} (skipped)"),
        )
    if evaluation.is_main:
        record = {"out": str(out), "computed": evaluation.computed, **evaluation.summary}
        lines = [texts.mean(row) for row in evaluation.summary["means"]]
        lines += texts.dashes(
            (metric, why)
            for row in evaluation.summary["means"]
            for metric, value in row["metrics"].items()
            for why in value.get("reasons", [])
        )
        console.show(record, "\n".join([*lines, f"Written to {out}"]), as_json=as_json)
    return 1 if evaluation.failed else 0


def plot() -> None:
    pass


def report() -> None:
    pass
