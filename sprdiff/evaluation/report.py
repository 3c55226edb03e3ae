"""One self-contained HTML page about an evaluation: tables, plots, pictures, settings, commands."""

from __future__ import annotations

import csv
import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from sprdiff.comparison.rows import Row
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.evaluation import plots
from sprdiff.evaluation.cases import Case, find_cases, show_case
from sprdiff.evaluation.curves import AXES
from sprdiff.evaluation.figures import Results, shown_comparisons
from sprdiff.evaluation.results import read_rows
from sprdiff.evaluation.tables import DASH, Cell, by_curve, mean_cells, quality_cell, rate_cell
from sprdiff.methods import METHODS
from sprdiff.types import Progress

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

_TEMPLATES = Path(__file__).resolve().parent / "templates"


@dataclass(frozen=True)
class Options:
    """What the page shows beside the tables.

    Attributes:
        by: metric that worst and best cases are meant by; the first of the results without it.
        cases: how many of each.
        images: folder of the originals; the one that was evaluated without it.
        published: what was given for published results, for the commands.
        title: of the page; made from the name of the data set without it.
    """

    by: str | None = None
    cases: int = 2
    images: Path | None = None
    published: str | None = None
    title: str | None = None


def build_report(
    results: Results,
    folders: Sequence[Path],
    load: Callable[[], SPRDiffPipeline],
    options: Options,
    *,
    progress: Progress,
) -> str:
    """The page; it needs no other file and no network.

    Args:
        results: of ``figures.read_results``.
        folders: those of ``evaluate`` that the results were read from.
        load: gives the model, when a stream of SPRDiff is to be decoded for a picture.
    Raises:
        SettingsError: a folder has no rows, or ``options.by`` is no metric of theirs.
    """
    progress(0.0, "Drawing")
    metrics = results.metrics
    rows = {folder: finished_rows(folder) for folder in folders}
    several = len(folders) > 1
    figures = []
    for metric in results.plotted:
        figure = plots.draw(metric, results.curves)
        caption = plots.caption_of(metric, results.curves, results.data_set, results.published_set)
        figures.append({"svg": Markup(plots.page_svg(figure)), "caption": caption.splitlines()})
    cases = _cases(results, folders[0], rows[folders[0]], load, options, progress)
    page = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("report.html")
    runs = [run for summary in results.summaries.values() for run in summary["settings"]["runs"]]
    settings = next(iter(results.summaries.values()))["settings"]
    return page.render(
        title=options.title or f"SPRDiff on {results.data_set}",
        data_set=results.data_set,
        fingerprints=[
            summary["settings"]["fingerprint"]
            for summary in results.summaries.values()
            if summary["settings"].get("fingerprint")
        ],
        axes=[AXES[metric] for metric in metrics],
        budgets=_budget_tables(results),
        dashes=_dashes(results),
        figures=figures,
        anchor=results.anchor,
        delta_axes=[AXES[metric] for metric in results.plotted],
        deltas=_deltas(results),
        cases=cases,
        rows=[
            _image_row(row, metrics, folder.name if several else "")
            for folder in folders
            for row in rows[folder]
        ],
        failed={
            name: why for summary in results.summaries.values() for name, why in summary["failed"].items()
        },
        runs=runs,
        settings=settings,
        commands=[
            line
            for folder, summary in zip(folders, results.summaries.values(), strict=True)
            for line in commands(summary, folder, options.published)
        ],
        dash=DASH,
    )


def finished_rows(folder: Path) -> list[Row]:
    """The rows that the averages in the folder are of, in the order of ``rows.csv``.

    Raises:
        SettingsError: there are none.
    """
    table = folder / "rows.csv"
    if not table.is_file():
        raise SettingsError(f"There is no {table}; a report is made of folders in which evaluate has ended.")
    by_key = {_csv_key(row): row for row in read_rows(folder / "rows.jsonl")}
    with table.open(newline="") as file:
        keys = [_csv_key(row) for row in csv.DictReader(file)]
    return [by_key[key] for key in keys if key in by_key]


def commands(summary: Mapping[str, Any], folder: Path, published: str | None) -> list[str]:
    """What to type to come to the same numbers."""
    settings, runs = summary["settings"], summary["settings"]["runs"]
    methods = list(dict.fromkeys(row["method"] for row in summary["means"]))
    bpps = sorted({row["target_bpp"] for row in summary["means"]})
    metrics = [*settings["metrics"], *runs[-1].get("set_metrics", [])]
    evaluate = ["python", "-m", "sprdiff", "evaluate", runs[-1]["folder"]]
    evaluate += ["--methods", ",".join(methods), "--bpp", ",".join(f"{bpp:g}" for bpp in bpps)]
    evaluate += ["--metrics", ",".join(metrics)]
    models = [run["model"] for run in runs if run.get("model")]
    evaluate += ["--model", models[-1]] if models else []
    evaluate += ["--keep", "--out", folder.name]
    more = ["--published", published] if published else []
    show = [["python", "-m", "sprdiff", command, folder.name, *more] for command in ("plot", "report")]
    return [shlex.join(command) for command in (evaluate, *show)]


def _csv_key(row: Mapping[str, Any]) -> tuple[str, str, str, float, str]:
    # With the fingerprint: the file may also hold rows of another checkpoint.
    return row["image"], row["sha256"], row["method"], float(row["target_bpp"]), row["fingerprint"] or ""


def _budget_tables(results: Results) -> list[dict[str, Any]]:
    """The means by budget; the best of each column is marked."""
    order = list(METHODS)
    rows = [(name, row) for name, summary in results.summaries.items() for row in summary["means"]]
    tables = []
    for budget in sorted({row["target_bpp"] for _, row in rows}):
        of = [(name, row) for name, row in rows if row["target_bpp"] == budget]
        of.sort(key=lambda each: order.index(each[1]["method"]) if each[1]["method"] in order else len(order))
        best = {metric: _best([row for _, row in of], metric) for metric in results.metrics}
        lines = []
        for name, row in of:
            cells = mean_cells(row, results.metrics)
            marks = [
                cell.why is None and cell.text == best[metric]
                for cell, metric in zip(cells, results.metrics, strict=True)
            ]
            label = METHODS.get(row["method"], row["method"])
            if len(results.summaries) > 1:
                label += f" ({name})"
            lines.append({"label": label, "row": row, "cells": list(zip(cells, marks, strict=True))})
        tables.append({"budget": budget, "lines": lines})
    return tables


def _best(rows: Sequence[Mapping[str, Any]], metric: str) -> str | None:
    found = [row for row in rows if row["metrics"].get(metric, {}).get("mean") is not None]
    if len(found) < 2:
        return None
    choose = max if AXES[metric].higher_is_better else min
    value = choose(row["metrics"][metric]["mean"] for row in found)
    return f"{value:.{AXES[metric].decimals}f}"


def _dashes(results: Results) -> dict[str, list[str]]:
    """Labels of the metrics by the reason that keeps them from having a value."""
    found: dict[str, list[str]] = {}
    for summary in results.summaries.values():
        for row in summary["means"]:
            for metric, value in row["metrics"].items():
                for why in value.get("reasons", []):
                    labels = found.setdefault(why, [])
                    if AXES[metric].label not in labels:
                        labels.append(AXES[metric].label)
    return found


def _deltas(results: Results) -> list[dict[str, Any]]:
    lines = []
    for label, of in by_curve(shown_comparisons(results)).items():
        cells: list[Cell] = []
        for metric in results.plotted:
            cells += [rate_cell(of[metric].rate), quality_cell(of[metric].quality, metric)]
        lines.append(
            {"label": label, "published": of[results.plotted[0]].curve.source is not None, "cells": cells}
        )
    return lines


def _cases(
    results: Results,
    folder: Path,
    rows: Sequence[Row],
    load: Callable[[], SPRDiffPipeline],
    options: Options,
    progress: Progress,
) -> dict[str, Any] | None:
    """The cases and what they are judged by; None if none are wanted."""
    if not options.cases or not rows:
        return None
    by = options.by or next(
        (m for m in results.plotted if any(m in row["metrics"] for row in rows)), "psnr-rgb"
    )
    if by not in AXES:
        raise SettingsError(f"Unknown metric {by!r}; known are {', '.join(AXES)}.")
    judged, budget, found, methods = find_cases(rows, by, options.cases)
    settings = next(iter(results.summaries.values()))["settings"]
    load = functools.cache(_once(load))
    shown: list[Case] = []
    for place, (kind, image) in enumerate(found):
        progress(place / len(found), f"{image}: decoding")
        of_image = {
            row["method"]: row for row in rows if (row["image"], row["target_bpp"]) == (image, budget)
        }
        shown.append(
            show_case(
                kind,
                image,
                of_image,
                methods,
                images=options.images or Path(settings["runs"][-1]["folder"]),
                out=folder,
                load=load,
            )
        )
    return {"method": METHODS[judged], "budget": budget, "axis": AXES[by], "cases": shown}


def _once(load: Callable[[], SPRDiffPipeline]) -> Callable[[], SPRDiffPipeline]:
    """``load`` that fails for good: a model that cannot be had is not looked for again for each picture."""
    failure: list[WeightsError] = []

    def loaded() -> SPRDiffPipeline:
        if failure:
            raise failure[0]
        try:
            return load()
        except WeightsError as error:
            failure.append(error)
            raise

    return loaded


def _image_row(row: Row, metrics: Sequence[str], name: str) -> dict[str, Any]:
    label = METHODS.get(row["method"], row["method"])
    cells = []
    for metric in metrics:
        value = row["metrics"].get(metric)
        if value is None:
            cells.append((Cell(DASH, row["reasons"].get(metric, "not measured")), ""))
        else:
            cells.append((Cell(f"{value:.{AXES[metric].decimals}f}"), value))
    return {"label": f"{label} ({name})" if name else label, "row": row, "cells": cells}
