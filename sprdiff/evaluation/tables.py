"""Means and Bjøntegaard deltas as tables, for Markdown, CSV and the report."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sprdiff.evaluation.bd_rate import Comparison, Delta
from sprdiff.evaluation.curves import AXES, Curve
from sprdiff.methods import METHODS

DASH = "–"


@dataclass(frozen=True)
class Cell:
    """What a cell shows, and why where that is a dash.

    Attributes:
        text: the number, or a dash.
        why: None if there is a number.
    """

    text: str
    why: str | None = None


def mean_cells(row: Mapping[str, Any], metrics: Sequence[str]) -> list[Cell]:
    """A row of means: its metrics with the digits that mean something."""
    return [_mean_cell(row["metrics"].get(metric), metric) for metric in metrics]


def _mean_cell(value: Mapping[str, Any] | None, metric: str) -> Cell:
    if value is None or value["mean"] is None:
        return Cell(DASH, "; ".join((value or {}).get("reasons", ["not measured"])))
    return Cell(f"{value['mean']:.{AXES[metric].decimals}f}")


def rate_cell(delta: Delta) -> Cell:
    """A BD-rate."""
    return Cell(DASH, delta.reason) if delta.value is None else Cell(_signed(delta.value, 1) + " %")


def quality_cell(delta: Delta, metric: str) -> Cell:
    """A BD-metric, in the metric's unit."""
    if delta.value is None:
        return Cell(DASH, delta.reason)
    unit = f" {AXES[metric].unit}" if AXES[metric].unit else ""
    return Cell(_signed(delta.value, AXES[metric].decimals) + unit)


def means_markdown(averages: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> str:
    """One line a method and budget, by budget; below it, the reasons of the dashes."""
    labels = [AXES[metric].label for metric in metrics]
    lines = [
        "| budget | method | bpp | " + " | ".join(labels) + " | over budget |",
        "|---:|---|---:|" + "---:|" * len(labels) + "---:|",
    ]
    for row in averages:
        cells = " | ".join(cell.text for cell in mean_cells(row, metrics))
        over = f"{row['over_budget']} of {row['images']}" if row["over_budget"] else ""
        label = METHODS.get(row["method"], row["method"])
        lines.append(f"| {row['target_bpp']:g} | {label} | {row['bpp']:.4f} | {cells} | {over} |")
    return "\n".join(lines) + "\n"


def deltas_markdown(anchor: Curve, comparisons: Sequence[Comparison], metrics: Sequence[str]) -> str:
    """BD-rate and BD-metric against the anchor; every dash is explained below the table."""
    head = " | ".join(f"{AXES[metric].label}: rate | difference" for metric in metrics)
    lines = [f"| against {anchor.label} | {head} |", "|---|" + "---:|---:|" * len(metrics)]
    reasons: dict[str, int] = {}

    def text(cell: Cell) -> str:
        if cell.why is None:
            return cell.text
        return f"{cell.text} <sup>{reasons.setdefault(cell.why, len(reasons) + 1)}</sup>"

    for curve, of in by_curve(comparisons).items():
        cells = [
            text(cell)
            for metric in metrics
            for cell in (rate_cell(of[metric].rate), quality_cell(of[metric].quality, metric))
        ]
        lines.append(f"| {curve} | {' | '.join(cells)} |")
    notes = [f"{number}. {why}" for why, number in reasons.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def deltas_csv(anchor: Curve, comparisons: Sequence[Comparison]) -> str:
    """One line a curve and metric, with the reasons of what is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["anchor", "curve", "metric", "bd_rate_percent", "bd_metric", "reason"])
    for each in comparisons:
        reasons = dict.fromkeys(filter(None, (each.rate.reason, each.quality.reason)))
        values = (each.rate.value, each.quality.value)
        writer.writerow([anchor.id, each.curve.id, each.metric, *values, "; ".join(reasons)])
    return text.getvalue()


def by_curve(comparisons: Sequence[Comparison]) -> dict[str, dict[str, Comparison]]:
    """The comparisons by the label of their curve and by metric."""
    found: dict[str, dict[str, Comparison]] = {}
    for each in comparisons:
        found.setdefault(each.curve.label, {})[each.metric] = each
    return found


def _signed(value: float, decimals: int) -> str:
    return f"{value:+.{decimals}f}".replace("-", "−")
