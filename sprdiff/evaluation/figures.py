"""What ``plot`` writes: a plot of each metric, the tables, and one record of everything that is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprdiff.comparison.rows import json_text
from sprdiff.errors import SettingsError
from sprdiff.evaluation import plots
from sprdiff.evaluation.bd_rate import Comparison, compare_to, find_anchor
from sprdiff.evaluation.curves import AXES, Curve, measured_curves, published_curves, read_summary
from sprdiff.evaluation.tables import deltas_csv, deltas_markdown, means_markdown
from sprdiff.files import write_file
from sprdiff.types import Progress


@dataclass(frozen=True)
class Results:
    """One or more summaries, read for showing.

    Attributes:
        summaries: contents by name.
        curves: measured ones first, then published ones.
        metrics: ids of those that were asked for in some run.
        plotted: those that at least one measured curve has.
        anchor: the curve that the others are compared to.
        comparisons: of every other curve on the plotted metrics.
        published_set: name of the images that the published curves are of; empty without any.
    """

    summaries: Mapping[str, Mapping[str, Any]]
    curves: list[Curve]
    metrics: list[str]
    plotted: list[str]
    anchor: Curve
    comparisons: list[Comparison]
    published_set: str = ""

    @property
    def other_sets(self) -> list[str]:
        """Names of measured sets of images that are not those of the published curves."""
        if not self.published_set:
            return []
        names = dict.fromkeys(str(each.get("dataset", name)) for name, each in self.summaries.items())
        return [name for name in names if name.casefold() != self.published_set.casefold()]

    @property
    def data_set(self) -> str:
        """Name and number of images, for captions."""
        names = dict.fromkeys(
            f"{summary.get('dataset', name)} ({max(row['images'] for row in summary['means'])} images)"
            for name, summary in self.summaries.items()
        )
        return " and ".join(names)


def read_results(
    paths: Sequence[Path], *, published: str | None = None, anchor: str | None = None
) -> Results:
    """Everything that plots, tables and the report show.

    Args:
        paths: folders of ``evaluate``, or JSON files with their means.
        published: see ``curves.published_curves``.
        anchor: id of a curve; AVIF or the first one without it.
    Raises:
        SettingsError: something named is not there, or there is no row in it.
    """
    summaries: dict[str, dict[str, Any]] = {}
    for path in paths:
        name, summary = read_summary(path)
        if not summary["means"]:
            raise SettingsError(f"{path} holds no finished rows.")
        while name in summaries:
            name += "'"
        summaries[name] = summary
    measured = measured_curves(summaries)
    curves = measured + (published_curves(published) if published else [])
    rows = [row for summary in summaries.values() for row in summary["means"]]
    metrics = [metric for metric in AXES if any(metric in row["metrics"] for row in rows)]
    plotted = [metric for metric in metrics if any(curve.on(metric) for curve in measured)]
    chosen = find_anchor(curves, anchor)
    comparisons = compare_to(chosen, curves, plotted)
    return Results(
        summaries, curves, metrics, plotted, chosen, comparisons, Path(published).stem if published else ""
    )


def write_figures(results: Results, out: Path, name: str, *, progress: Progress) -> list[Path]:
    """Plots, tables and ``NAME.json`` in ``out``, which is made; the files.

    The tables hold the published curves with a rate in the plotted range only.
    """
    out.mkdir(parents=True, exist_ok=True)
    shown, written = record(results), []
    for place, metric in enumerate(results.plotted):
        progress(place / len(results.plotted), AXES[metric].label)
        caption = plots.caption_of(metric, results.curves, results.data_set, results.published_set)
        figure = plots.draw(metric, results.curves, caption=caption)
        written += plots.write_plots(figure, out / f"{name}-{metric}", means_mark(shown))
    for path, text in (
        (out / f"{name}-bd.csv", deltas_csv(results.anchor, results.comparisons)),
        (out / f"{name}.md", markdown(results)),
        (out / f"{name}.json", json_text(shown)),
    ):
        write_file(path, text)
        written.append(path)
    progress(1.0, "Done")
    return written


def shown_comparisons(results: Results) -> list[Comparison]:
    """Those of curves with a number: a line of dashes alone says nothing that the reasons do not."""
    with_value = {
        each.curve.id for each in results.comparisons if (each.rate.value, each.quality.value) != (None, None)
    }
    return [each for each in results.comparisons if each.curve.source is None or each.curve.id in with_value]


def markdown(results: Results) -> str:
    """The means of every summary and the deltas, for a README."""
    parts = []
    for summary in results.summaries.values():
        metrics = [metric for metric in results.metrics if _has(summary, metric)]
        parts.append(means_markdown(summary["means"], metrics))
    parts.append(deltas_markdown(results.anchor, shown_comparisons(results), results.plotted))
    return "\n".join(parts)


def record(results: Results) -> dict[str, Any]:
    """Means, settings and deltas as JSON data that ``plot`` can read again; without paths of this machine."""
    merged: dict[str, Any] = {
        "dataset": results.data_set,
        "means": [],
        "failed": {},
        "settings": {"runs": []},
    }
    for summary in results.summaries.values():
        # Without the seconds: they say more of what else the machine did than of a method.
        merged["means"] += [
            {key: value for key, value in row.items() if not key.endswith("_seconds")}
            for row in summary["means"]
        ]
        merged["failed"] |= summary.get("failed", {})
        settings = summary["settings"]
        merged["settings"] |= {key: value for key, value in settings.items() if key != "runs"}
        merged["settings"]["runs"] += [_without_paths(run) for run in settings["runs"]]
    if len(results.summaries) == 1:
        (summary,) = results.summaries.values()
        merged["dataset"] = summary.get("dataset", "")
    merged["bd"] = {
        "anchor": results.anchor.id,
        "comparisons": [
            {
                "curve": each.curve.id,
                "metric": each.metric,
                "bd_rate_percent": each.rate.value,
                "bd_rate_reason": each.rate.reason,
                "bd_metric": each.quality.value,
                "bd_metric_reason": each.quality.reason,
            }
            for each in shown_comparisons(results)
        ],
    }
    return merged


def means_mark(shown: Mapping[str, Any]) -> str:
    """What plots of a record carry, so that it can be seen whether they are of these numbers."""
    return "means " + hashlib.sha256(json.dumps(shown["means"], sort_keys=True).encode()).hexdigest()[:16]


def _without_paths(run: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        key: Path(run[key]).name if run.get(key) and Path(run[key]).is_absolute() else run.get(key)
        for key in ("folder", "model")
    }
    return {**run, **names}


def _has(summary: Mapping[str, Any], metric: str) -> bool:
    return any(row["metrics"].get(metric, {}).get("mean") is not None for row in summary["means"])
