"""One comparison as a single HTML file: a slider between any two pictures, the numbers, and the files.

It holds the PNG files and the compressed files byte for byte and needs neither a server nor a network.
"""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from sprdiff.comparison.record import Record, best_text, facts, value_text
from sprdiff.metrics import METRICS
from sprdiff.metrics.rate import max_bytes

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_DASH = "–"


def build_page(record: Record, folder: Path) -> str:
    """The page.

    Args:
        record: what ``results.json`` holds.
        folder: of the pictures and files it names.
    """
    rows = list(record["results"])
    metrics = [metric for metric in METRICS if any(metric in row["metrics"] for row in rows)]
    best = {metric: best_text(rows, metric) for metric in metrics}
    panels = [
        {
            "id": "original",
            "label": "Original",
            "facts": f"{record['width']} × {record['height']}",
            "picture": _data_url(folder / record["original"], "image/png"),
            "picture_name": record["original"],
        }
    ]
    lines = []
    for row in rows:
        panel = {
            "id": row["method"],
            "label": row["label"],
            "facts": facts(row),
            "picture": _data_url(folder / row["picture"], "image/png"),
            "picture_name": row["picture"],
            "file": _data_url(folder / row["file"], "application/octet-stream"),
            "file_name": row["file"],
        }
        panels.append(panel)
        cells = []
        for metric in metrics:
            text = value_text(row, metric)
            cells.append(
                {
                    "text": _DASH if text is None else text,
                    "best": text is not None and text == best[metric] and not row["over_budget"],
                    "why": row["reasons"].get(metric, "not measured") if text is None else "",
                }
            )
        lines.append({"row": row, "cells": cells})
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for metric, why in row["reasons"].items():
            labels = reasons.setdefault(why, [])
            if METRICS[metric].label not in labels:
                labels.append(METRICS[metric].label)
    page = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
    ids = [panel["id"] for panel in panels]
    return page.render(
        record=record,
        budget=max_bytes(record["target_bpp"], record["width"], record["height"]),
        panels=panels,
        metrics=[METRICS[metric] for metric in metrics],
        lines=lines,
        reasons=reasons,
        left="original",
        right="sprdiff-final" if "sprdiff-final" in ids else ids[-1],
    )


def _data_url(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
