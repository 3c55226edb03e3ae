"""The commands that measure many images and show what came out: ``evaluate | plot | report``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from sprdiff.budget import check_bpp
from sprdiff.cli import console, texts
from sprdiff.cli.jobs import check_new
from sprdiff.cli.options import (
    COMMON,
    METHODS,
    METRICS,
    Force,
    Json,
    Methods,
    Metrics,
    Model,
    load_pipeline,
    number,
    split,
)
from sprdiff.errors import SettingsError
from sprdiff.files import check_folder, write_file

Inputs = Annotated[
    list[Path], typer.Argument(metavar="RESULTS", help="Folders of evaluate, or JSON files of plot.")
]
Published = Annotated[
    str | None,
    typer.Option(help="Published results to show: kodak, tecnick, clic2020, div2k or a JSON file."),
]
Anchor = Annotated[
    str | None, typer.Option(help="Method id or published curve that BD-rates are against; avif by default.")
]


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR")],
    bpp: Annotated[str, typer.Option(help="Budgets in bits per pixel, separated by commas.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for rows and means; an earlier run in it is continued."),
    ],
    methods: Methods = METHODS,
    metrics: Metrics = METRICS,
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
    from sprdiff.evaluation.datasets import find_images
    from sprdiff.evaluation.set_metrics import check_all_metrics
    from sprdiff.methods import check_methods, needs_pipeline

    method_ids, metric_ids = check_methods(split(methods)), split(metrics)
    check_all_metrics(metric_ids)
    find_images(folder, out)
    with console.progress_bar(lines_when_piped=True) as progress:
        from sprdiff.evaluation.parallel import launched
        from sprdiff.evaluation.runner import evaluate as run

        pipeline, load = None, None
        if needs_pipeline(method_ids):
            pipeline = load_pipeline(model, progress)
            load = functools.partial(load_pipeline, model, device=COMMON.device)
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
            keep=keep,
            jobs=jobs,
            load=load,
            model=model,
            progress=progress if group is None or group.is_main_process else None,
            on_failure=lambda name, message: console.fail(f"{name}: {message} (skipped)"),
        )
    if evaluation.is_main:
        record = {"out": str(out), "computed": evaluation.computed, **evaluation.summary}
        lines = texts.means(evaluation.summary["means"])
        lines += texts.dashes(
            (metric, why)
            for row in evaluation.summary["means"]
            for metric, value in row["metrics"].items()
            for why in value.get("reasons", [])
        )
        console.show(record, "\n".join([*lines, f"Written to {out}"]), as_json=as_json)
    return 1 if evaluation.failed else 0


def plot(
    results: Inputs,
    published: Published = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the plots; 'plots' in the first results by default."),
    ] = None,
    name: Annotated[str, typer.Option(help="What the names of the files begin with.")] = "rd",
    anchor: Anchor = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw rate-distortion plots (PNG, PDF, SVG) and compute BD-rate and BD-metric."""
    if out is not None:
        check_new([out / f"{name}.json"], force)
    else:  # beside what it is drawn from, where it may be drawn again
        out = (results[0] if results[0].is_dir() else results[0].parent) / "plots"
    _check_name(name)
    check_folder(out)
    with console.progress_bar() as progress:
        progress(0.0, "Loading the libraries")
        from sprdiff.evaluation.figures import markdown, read_results, record, write_figures

        found = read_results(results, published=published, anchor=anchor)
        written = write_figures(found, out, name, progress=progress)
        left_out = [metric for metric in found.metrics if metric not in found.plotted]
    _warn_of_other_sets(found.other_sets, found.published_set)
    shown = {"files": [str(path) for path in written], "left_out": left_out, **record(found)}
    lines = [markdown(found)]
    if left_out:
        lines.append(f"Not plotted, since there is no value: {', '.join(left_out)}")
    console.show(shown, "\n".join([*lines, f"Written to {out}"]), as_json=as_json)


def report(
    results: Inputs,
    published: Published = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page; report.html in the first results by default."),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Metric that worst and best are meant by.")] = None,
    cases: Annotated[int, typer.Option(min=0, max=20, help="How many of the worst, and of the best.")] = 2,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the originals, if it is not where it was.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    anchor: Anchor = None,
    force: Force = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page: tables, plots, worst and best pictures, settings, commands."""
    for folder in results:
        if not folder.is_dir():
            raise SettingsError(f"A report is made of folders of evaluate; {folder} is none.")
    if out is not None:
        check_new([out], force)
    else:
        out = results[0] / "report.html"
    if out.suffix != ".html":
        raise SettingsError(f"The page must end in .html, got {out}.")
    check_folder(out.parent)
    with console.progress_bar() as progress:
        progress(0.0, "Loading the libraries")
        from sprdiff.evaluation.figures import read_results
        from sprdiff.evaluation.report import Options, build_report

        found = read_results(results, published=published, anchor=anchor)
        options = Options(by, cases, images, published, title)
        load = functools.partial(load_pipeline, model)
        page = build_report(found, results, load, options, progress=progress)
        out.parent.mkdir(parents=True, exist_ok=True)
        write_file(out, page)
    _warn_of_other_sets(found.other_sets, found.published_set)
    size = len(page.encode())
    console.show(
        {"file": str(out), "num_bytes": size}, f"Written to {out} ({size / 1e6:.1f} MB)", as_json=as_json
    )


def _warn_of_other_sets(measured: list[str], published: str) -> None:
    if measured:
        console.warn(
            f"measured on {', '.join(measured)}, published on {published}: these are other images, "
            "unless they only have another name"
        )


def _check_name(name: str) -> None:
    if not name or Path(name).name != name:
        raise SettingsError(f"{name!r} is not the name of a file.")
