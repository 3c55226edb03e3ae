"""Results as the records that the viewer draws: every number a finished text, every file a link."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sprdiff.metrics import METRICS
from sprdiff.ui import texts
from sprdiff.ui.records import METRIC_IDS, PANEL_METRIC_IDS, StreamDetail

if TYPE_CHECKING:
    import numpy as np

    from sprdiff.comparison.compare import MethodResult
    from sprdiff.metrics import MetricValue

NO_VALUE = "–"
WAITING = "…"
BLOCK = 16
"""Side of the blocks that bits are counted for, in pixels."""


def bytes_text(num_bytes: int) -> str:
    return "1 byte" if num_bytes == 1 else f"{num_bytes:,} bytes"


def size_text(num_bytes: int) -> str:
    """As people say it: "1.2 GB", "528 MB", "6 kB"."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


def bpp_text(bpp: float) -> str:
    """Four decimals, so that one byte of a photograph still shows."""
    return f"{bpp:.4f}"


def scale_text(scale: float) -> str:
    """ "full size", "1/3 size", or a percentage for what is no simple fraction."""
    if abs(scale - 1) < 1e-6:
        return "full size"
    parts = round(1 / scale)
    return f"1/{parts} size" if abs(scale * parts - 1) < 0.02 else f"{scale:.0%} size"


def ratio_text(num_bytes: int, width: int, height: int) -> str:
    """How many times smaller than the raw picture, three bytes a pixel."""
    return f"{3 * width * height / num_bytes:,.0f} : 1"


def seconds_text(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def metric_cells(
    metrics: Mapping[str, MetricValue], *, ids: Sequence[str] = METRIC_IDS, waiting: bool = False
) -> list[dict[str, Any]]:
    """One cell per column: its text, or a dash and the reason, or dots where a number is waited for."""
    cells: list[dict[str, Any]] = []
    for metric_id in ids:
        value = metrics.get(metric_id)
        if value is None and waiting:
            cells.append({"id": metric_id, "text": WAITING, "number": None, "reason": "", "best": False})
        elif value is None or value.value is None:
            reason = (value.reason if value is not None else None) or texts.NOT_MEASURED
            cells.append({"id": metric_id, "text": NO_VALUE, "number": None, "reason": reason, "best": False})
        else:
            decimals = METRICS[metric_id].decimals
            number = round(value.value, decimals)
            cells.append(
                {
                    "id": metric_id,
                    "text": f"{value.value:.{decimals}f}",
                    "number": number if abs(number) != float("inf") else None,
                    "reason": "",
                    "best": False,
                }
            )
    return cells


def without_waiting(cell: dict[str, Any]) -> dict[str, Any]:
    """The cell once no number comes any more."""
    return cell | {"text": NO_VALUE, "reason": texts.NOT_MEASURED} if cell["text"] == WAITING else cell


def missing_panel(panel_id: str, label: str, reason: str) -> dict[str, str]:
    """The place of a method that cannot take part, with the reason."""
    return {"id": panel_id, "label": label, "reason": reason}


def mark_best(panels: Sequence[dict[str, Any]]) -> None:
    """Marks, in each column, the best value among the panels within the budget; equal texts share it.

    A column in which a number is still waited for has no best one yet.
    """
    for index, metric_id in enumerate(METRIC_IDS):
        column = [panel["cells"][index] for panel in panels if panel["cells"]]
        cells = [panel["cells"][index] for panel in panels if panel["cells"] and not panel["over_budget"]]
        numbers = [cell["number"] for cell in cells if cell["number"] is not None]
        for cell in column:
            cell["best"] = False
        if len(numbers) < 2 or any(cell["text"] == WAITING for cell in column):
            continue
        best = max(numbers) if METRICS[metric_id].higher_is_better else min(numbers)
        for cell in cells:
            cell["best"] = cell["number"] == best


def original_panel(picture: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """The panel of the photograph itself, three bytes a pixel."""
    return {
        "id": "original",
        "label": "Original",
        "kind": "original",
        "picture": picture,
        "file": None,
        "facts": [f"{width} × {height}"],
        "bytes": f"{3 * width * height:,}",
        "bpp": "24",
        "ratio": "1 : 1",
        "scale": "full size",
        "over_budget": False,
        "cells": [],
        "times": "",
        "about": "",
    }


def method_panel(
    result: MethodResult, picture: dict[str, Any], file: dict[str, Any], *, waiting: bool = False
) -> dict[str, Any]:
    """The panel of one method, its picture and the file it was decoded from."""
    encoded = result.encoded
    num_bytes = len(encoded.data)
    scale = scale_text(encoded.scale)
    bpp = bpp_text(8 * num_bytes / (encoded.width * encoded.height))
    return {
        "id": result.method,
        "label": result.label,
        "kind": "sprdiff" if result.method.startswith("sprdiff") else "baseline",
        "picture": picture,
        "file": file,
        "facts": [bytes_text(num_bytes), f"{bpp} bpp", *([] if scale == "full size" else [scale])],
        "bytes": f"{num_bytes:,}",
        "bpp": bpp,
        "ratio": ratio_text(num_bytes, encoded.width, encoded.height),
        "scale": scale,
        "over_budget": encoded.over_budget,
        "cells": metric_cells(result.metrics, waiting=waiting),
        "times": f"{seconds_text(result.encode_seconds)} / {seconds_text(result.decode_seconds)}",
        "about": ", ".join(f"{name} {value}" for name, value in encoded.settings.items()),
    }


def plain_panel(
    panel_id: str, label: str, picture: dict[str, Any], file: dict[str, Any] | None, facts: Sequence[str]
) -> dict[str, Any]:
    """A panel without measurements, for a decoded file whose original nobody has."""
    return {
        "id": panel_id,
        "label": label,
        "kind": "sprdiff",
        "picture": picture,
        "file": file,
        "facts": list(facts),
        "over_budget": False,
        "cells": [],
    }


def byte_strip(data: bytes, detail: StreamDetail | None) -> dict[str, Any]:
    """The file itself, for the strip that draws every byte as a cell, its split, and its bits by block."""
    rate = detail.rate if detail is not None else None
    return {
        "base64": base64.b64encode(data).decode(),
        "split": [] if rate is None else [rate.header_bytes, rate.z_bytes, rate.y_bytes],
        "total": bytes_text(len(data)),
        "blocks": None if detail is None or detail.bits is None else block_map(detail.bits),
    }


def block_map(bits: np.ndarray) -> dict[str, Any]:
    """(H, W) bits of each block, as bytes from 0 to 255 for none to ``most``, and what to say about them."""
    most = float(bits.max())
    levels = (bits * (255 / most)).round().astype("uint8") if most > 0 else bits.astype("uint8")
    total = bytes_text(round(bits.sum() / 8))
    return {
        "columns": bits.shape[1],
        "rows": bits.shape[0],
        "side": BLOCK,
        "most": f"{most:.1f}",
        "legend": texts.BITS_LEGEND.format(side=BLOCK, mean=bits.mean(), total=total),
        "base64": base64.b64encode(levels.tobytes()).decode(),
    }


def metric_columns(ids: Sequence[str] = METRIC_IDS) -> list[dict[str, Any]]:
    """What the browser needs to know of each metric."""
    return [
        {
            "id": metric_id,
            "label": texts.METRICS[metric_id][0],
            "about": texts.METRICS[metric_id][1],
            "name": METRICS[metric_id].label,
            "unit": METRICS[metric_id].unit,
            "better": "higher" if METRICS[metric_id].higher_is_better else "lower",
            "beside": metric_id in PANEL_METRIC_IDS,
        }
        for metric_id in ids
    ]


def viewer_value(
    panels: Sequence[dict[str, Any]],
    *,
    size: tuple[int, int],
    title: str,
    settings: str = "",
    pending: Sequence[str] = (),
    missing: Sequence[dict[str, str]] = (),
    stream: dict[str, Any] | None = None,
    bundle: dict[str, Any] | None = None,
    page: dict[str, Any] | None = None,
    figure: Sequence[dict[str, Any]] = (),
    flicker: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """What the viewer draws.

    Args:
        panels: in order; the first is the one that space flicks to.
        size: width and height of the original in pixels.
        title: name of the picture.
        settings: which settings made what is shown.
        pending: labels of the panels that are still to come.
        stream: a ``byte_strip``.
        missing: ``missing_panel`` of every method that cannot take part.
        bundle: a zip of everything that is shown.
        page: the same as one HTML file.
        figure: PNG and PDF for slides.
        flicker: the animations that were made, GIF first.
    """
    return {
        "panels": list(panels),
        "size": list(size),
        "title": title,
        "settings": settings,
        "pending": list(pending),
        "stream": stream,
        "missing": list(missing),
        "bundle": bundle,
        "page": page,
        "figure": list(figure),
        "flicker": list(flicker),
        "columns": metric_columns(),
    }
