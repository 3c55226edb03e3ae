"""What ``results.json`` of a comparison says, as the figure and the page show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sprdiff.metrics import METRICS

Record = Mapping[str, Any]
"""The content of ``results.json``; see ``folder.write_comparison``."""

Rows = Sequence[Mapping[str, Any]]


def value_text(row: Mapping[str, Any], metric: str) -> str | None:
    """The value with the digits that mean something, or None."""
    value = row["metrics"].get(metric)
    return None if value is None else f"{value:.{METRICS[metric].decimals}f}"


def best_text(rows: Rows, metric: str) -> str | None:
    """The best value among the rows within their budget; None where fewer than two have one."""
    found = [
        row["metrics"][metric]
        for row in rows
        if row["metrics"].get(metric) is not None and not row["over_budget"]
    ]
    if len(found) < 2:
        return None
    value = max(found) if METRICS[metric].higher_is_better else min(found)
    return f"{value:.{METRICS[metric].decimals}f}"


def facts(row: Mapping[str, Any]) -> str:
    """Bytes, bpp, the scale if it is not full, and whether it is over budget."""
    parts = [f"{row['num_bytes']:,} bytes", f"{row['bpp']:.4f} bpp"]
    if row["scale"] < 0.999:
        parts.append(f"1/{1 / row['scale']:.0f} size")
    if row["over_budget"]:
        parts.append("over budget")
    return ", ".join(parts)


def files_of(record: Record, folder: Path) -> list[Path]:
    """Every picture and file that the record names, each once, and ``results.json``."""
    names = [record["original"]]
    for row in record["results"]:
        names += [row["picture"], row["file"]]
    return [folder / name for name in dict.fromkeys([*names, "results.json"])]
