"""Published rate-distortion curves, and ours beside them, as what the browser draws.

A value stands on the axis of the metric that it is: LPIPS with AlexNet and with VGG, MS-SSIM of RGB and of
luma are different metrics here, so they never share one.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.checkpoint.bundled import bundled
from sprdiff.ui import texts

if TYPE_CHECKING:
    from sprdiff.evaluation.curves import Curve, Source

RESULTS = bundled("assets/results")
"""Means measured with the embedded checkpoint, one file a data set, written by ``python -m sprdiff plot``."""

DATA_SETS = {
    "kodak": "Kodak",
    "tecnick": "Tecnick",
    "clic2020": "CLIC2020",
    "clic2020-professional": "CLIC2020 professional",
    "div2k": "DIV2K",
}


@cache
def published_value() -> dict[str, Any]:
    """Every data set with its curves: ``{"sets": [{"id", "label", "columns", "curves", "left_out"}]}``."""
    return {"sets": [data_set(name, RESULTS / f"{name}.json") for name in DATA_SETS]}


def data_set(name: str, results: Path) -> dict[str, Any]:
    """One data set.

    Args:
        name: key of ``DATA_SETS``.
        results: what was measured here; it need not exist.
    """
    from sprdiff.evaluation.curves import (
        AXES,
        PUBLISHED_FOLDER,
        measured_curves,
        published_curves,
        read_summary,
    )

    entries = json.loads((PUBLISHED_FOLDER / f"{name}.json").read_bytes())["curves"]
    curves = []
    if results.is_file():
        curves += [_measured(curve) for curve in measured_curves(dict([read_summary(results)]))]
    curves += [
        _published(curve, curve.source, entry)
        for curve, entry in zip(published_curves(name), entries, strict=True)
        if curve.source is not None
    ]
    columns = [
        {
            "id": axis.id,
            "name": axis.label,
            "unit": axis.unit,
            "better": "higher" if axis.higher_is_better else "lower",
            "decimals": axis.decimals,
        }
        for axis in AXES.values()
        if any(axis.id in point["values"] for curve in curves for point in curve["points"])
    ]
    return {"id": name, "label": DATA_SETS[name], "columns": columns, "curves": curves}


def _measured(curve: Curve) -> dict[str, Any]:
    """A curve of our own run: marked as ours, its source is the run."""
    ours = curve.id.startswith("sprdiff")
    return _curve(curve) | {
        "label": texts.OURS_LABEL.format(label=curve.label) if ours else f"{curve.label}, run here",
        "kind": "ours" if ours else "classical",
        "measured": True,
        "source": {
            "number": None,
            "name": "",
            "title": texts.OURS_SOURCE,
            "how": "",
            "remark": "",
            "links": [],
        },
    }


def _published(curve: Curve, named: Source, entry: dict[str, Any]) -> dict[str, Any]:
    source = entry["source"]
    links = {"paper": source.get("paper"), "data": source.get("figure_url", source["url"])}
    if links["paper"] is None and links["data"] != source["url"]:
        links["paper"] = source["url"]
    return _curve(curve) | {
        "label": entry["method"],
        "kind": entry["kind"],
        "measured": False,
        "source": {
            "number": named.number,
            "name": named.name,
            "title": source["title"],
            "how": named.how,
            "remark": named.remark,
            "links": [[word, url] for word, url in links.items() if url],
        },
    }


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "id": curve.id,
        "points": [
            {"bpp": point.bpp, "values": dict(point.values), "over": point.over_budget}
            for point in curve.points
        ],
        "left_out": dict(curve.left_out),
    }
