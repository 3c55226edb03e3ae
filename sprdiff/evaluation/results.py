"""Rows of a run as files, and their means. Computes no picture and no metric."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sprdiff.comparison.rows import Row


def means(rows: Iterable[Row]) -> list[Row]:
    """Averages over images for each method and budget; each metric over the images that have it.

    Returns:
        For each: ``images``, how many of them are ``over_budget``, mean ``bpp`` and seconds, and for each
        metric its ``mean`` (None if there is none), the number of ``dashes`` and their ``reasons``.
    """
    # Not by pandas: to flatten the rows for it, and to nest means and reasons again, takes as many lines.
    groups: dict[tuple[str, float], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["target_bpp"]), []).append(row)
    return [
        {
            "method": method,
            "target_bpp": target_bpp,
            "images": len(group),
            "over_budget": sum(row["over_budget"] for row in group),
            **{key: _mean(row[key] for row in group) for key in ("bpp", "encode_seconds", "decode_seconds")},
            "metrics": {metric: _metric_mean(group, metric) for metric in _metric_ids(group)},
        }
        for (method, target_bpp), group in groups.items()
    ]


def read_rows(path: Path) -> list[Row]:
    """The rows of a JSON Lines file that may not exist yet; a last line that a kill cut short is removed.

    Raises:
        ValueError: a line before the last is not JSON, so the file is not one of ours.
    """
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.splitlines() if line.strip()]


def append_row(path: Path, row: Row) -> None:
    """Adds one line and flushes it to the disk: a kill loses at most the row being written."""
    append_rows(path, [row])


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Adds a line for each row, all in one write; no row, no file."""
    if not rows:
        return
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows))
        file.flush()
        os.fsync(file.fileno())


def csv_text(rows: Sequence[Row]) -> str:
    """The rows as CSV: one column a metric, empty where there is a dash; settings as JSON."""
    metrics = _metric_ids(rows)
    plain = [key for key in (rows[0] if rows else {}) if key not in ("settings", "metrics", "reasons")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain, "settings", *metrics])
    for row in rows:
        values = [row["metrics"].get(metric) for metric in metrics]
        writer.writerow([*(row.get(key) for key in plain), json.dumps(row["settings"]), *values])
    return text.getvalue()


def _metric_ids(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(metric for row in rows for metric in row["metrics"]))


def _metric_mean(rows: Sequence[Row], metric: str) -> Row:
    values = [row["metrics"].get(metric) for row in rows]
    found = [value for value in values if value is not None]
    summary: Row = {"mean": _mean(found) if found else None, "dashes": len(values) - len(found)}
    without = [row for row in rows if row["metrics"].get(metric) is None]
    reasons = sorted({row["reasons"].get(metric, "not measured") for row in without})
    return {**summary, "reasons": reasons} if reasons else summary


def _mean(values: Iterable[float]) -> float:
    values = list(values)
    return math.fsum(values) / len(values)
