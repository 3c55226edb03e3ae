"""Rate-distortion curves: those measured here, from the means of a run, and published ones, from their files.

A published value is put on the axis of the metric that it is, by its backbone or channel (LPIPS with AlexNet
and with VGG, MS-SSIM of RGB and of luma are different numbers); what cannot be placed is left out, with the
reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sprdiff.checkpoint.bundled import bundled
from sprdiff.errors import SettingsError
from sprdiff.methods import METHODS
from sprdiff.metrics import METRICS
from sprdiff.metrics.patches import SET_METRICS

PUBLISHED_FOLDER = bundled("assets/published")
"""Published results that come with the project, one file a data set; see ``SOURCES.md`` there."""

_FAMILIES = {
    "psnr": ("psnr-rgb",),
    "ms_ssim": ("ms-ssim-rgb", "ms-ssim-y"),
    "lpips": ("lpips-alex", "lpips-vgg"),
    "dists": ("dists",),
    "fid_kid": ("fid", "kid"),
}
"""Metric ids by the key under which the published files note of which kind their values are."""


@dataclass(frozen=True)
class Axis:
    """A metric as an axis of a plot or a column of a table."""

    id: str
    label: str
    unit: str
    higher_is_better: bool
    decimals: int


AXES: dict[str, Axis] = {
    **{m.id: Axis(m.id, m.label, m.unit, m.higher_is_better, m.decimals) for m in METRICS.values()},
    **{
        m.id: Axis(m.id, f"{m.label} (256-pixel patches)", "", False, m.decimals)
        for m in SET_METRICS.values()
    },
}
"""Every metric that can be measured, by id."""


@dataclass(frozen=True)
class Point:
    """Averages over a data set.

    Attributes:
        bpp: bits per pixel.
        values: by metric id; those that there are.
        over_budget: for how many images even the smallest file exceeded the budget.
    """

    bpp: float
    values: Mapping[str, float]
    over_budget: int = 0


@dataclass(frozen=True)
class Source:
    """Where published values are from.

    Attributes:
        number: in captions, from 1.
        name: short, for captions.
        url: of the paper or of the file.
        how: ``table``, or ``digitised figure``.
        remark: what is to be known of its rates; empty if nothing.
    """

    number: int
    name: str
    url: str
    how: str
    remark: str = ""


@dataclass(frozen=True)
class Curve:
    """One method.

    Attributes:
        id: unique among the curves shown together; what an anchor is named by.
        label: for legends.
        points: by rising rate.
        source: of a published curve; None if it was measured here.
        left_out: why there are no values of some metrics, by metric id.
    """

    id: str
    label: str
    points: tuple[Point, ...]
    source: Source | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def on(self, metric: str) -> list[tuple[float, float]]:
        """(bpp, value) of every point that has the metric."""
        return [(point.bpp, point.values[metric]) for point in self.points if metric in point.values]


def measured_curves(summaries: Mapping[str, Mapping[str, Any]]) -> list[Curve]:
    """A curve for each method of each summary; methods in more than one are told apart by its name.

    Args:
        summaries: contents of ``summary.json`` by the name of their folder.
    """
    methods = [row["method"] for summary in summaries.values() for row in _unique(summary["means"], "method")]
    curves = []
    for name, summary in summaries.items():
        for method in dict.fromkeys(row["method"] for row in summary["means"]):
            again = methods.count(method) > 1
            points: list[Point] = []
            for row in (row for row in summary["means"] if row["method"] == method):
                point = Point(row["bpp"], _values(row), row["over_budget"])
                # Two budgets below what a method can reach give the same files, and so one point.
                if point not in points:
                    points.append(point)
            curves.append(
                Curve(
                    f"{method}@{name}" if again else method,
                    METHODS.get(method, method) + (f" ({name})" if again else ""),
                    tuple(sorted(points, key=lambda point: point.bpp)),
                    left_out=_reasons(row for row in summary["means"] if row["method"] == method),
                )
            )
    return curves


def published_curves(name: str) -> list[Curve]:
    """The curves of one file.

    Args:
        name: of a data set in ``PUBLISHED_FOLDER``, or the path of a file like those.
    Raises:
        SettingsError: there is no such file, or it is another one.
    """
    path = Path(name) if name.endswith(".json") else PUBLISHED_FOLDER / f"{name}.json"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PUBLISHED_FOLDER.glob("*.json")))
        raise SettingsError(f"There are no published results {name!r}; known are {known}.")
    try:
        entries = json.loads(path.read_bytes())["curves"]
        numbers: dict[tuple[str, str], int] = {}
        return [_published_curve(entry, numbers) for entry in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not a file of published results.") from error


def _published_curve(entry: Mapping[str, Any], numbers: dict[tuple[str, str], int]) -> Curve:
    source = entry["source"]
    place = source.get("figure_url", source["url"])
    found = re.match(r"https?://(github\.com/[^/]+/[^/]+)", place)
    name = found[1] if found else place.removeprefix("https://")
    number = numbers.setdefault((name, source["how"]), len(numbers) + 1)
    url = source.get("paper") or source["url"]
    notes = entry["metric_notes"]
    kinds, left_out = _kinds(notes)
    points = []
    for point in sorted((p for p in entry["points"] if p.get("bpp") is not None), key=lambda p: p["bpp"]):
        values = {kinds[key]: point[key] for key in kinds if point.get(key) is not None}
        points.append(Point(point["bpp"], values))
    label = f"{entry['method']} [{number}]"
    remark = "its rates are estimates" if "estimate" in notes.get("bpp", "") else ""
    return Curve(label, label, tuple(points), Source(number, name, url, source["how"], remark), left_out)


def _kinds(notes: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The metric id of each key of a point, and the ids that its values are not, with the reason."""
    kinds = {"psnr": "psnr-rgb", "dists": "dists", "lpips_alex": "lpips-alex", "lpips_vgg": "lpips-vgg"}
    left_out = {}
    ms_ssim = notes.get("ms_ssim", "")
    if "luma" in ms_ssim:
        kinds["ms_ssim"] = "ms-ssim-y"
        left_out["ms-ssim-rgb"] = "published for luma, which is another kind"
    elif ms_ssim.startswith("RGB"):
        kinds["ms_ssim"] = "ms-ssim-rgb"
        left_out["ms-ssim-y"] = "published for RGB, which is another kind"
    lpips = notes.get("lpips", "")
    if "VGG" in lpips and "AlexNet, " not in lpips:
        left_out["lpips-alex"] = "published with VGG, which is another kind"
    elif "AlexNet" in lpips:
        left_out["lpips-vgg"] = "published with AlexNet, which is another kind"
    if notes.get("fid_kid", "").startswith("256x256 patches"):
        kinds |= {"fid": "fid", "kid": "kid"}
    else:
        left_out |= dict.fromkeys(("fid", "kid"), "published without saying over which patches")
    return kinds, left_out


def read_summary(path: Path) -> tuple[str, dict[str, Any]]:
    """Name and content of a folder of ``evaluate``, or of a JSON file with its means.

    Raises:
        SettingsError: it is neither.
    """
    file = path / "summary.json" if path.is_dir() else path
    if not file.is_file():
        raise SettingsError(
            f"There is no {file}; a folder of results is made by evaluate, when it has ended."
        )
    try:
        summary = json.loads(file.read_bytes())
        for row in summary["means"]:
            row["method"], row["target_bpp"], row["bpp"], row["metrics"], row["over_budget"]
        summary["settings"]["runs"]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{file} does not hold results of this program.") from error
    return (path.resolve().name if path.is_dir() else path.stem), summary


def _values(row: Mapping[str, Any]) -> dict[str, float]:
    return {metric: value["mean"] for metric, value in row["metrics"].items() if value["mean"] is not None}


def _reasons(rows: Any) -> dict[str, str]:
    return {
        metric: value["reasons"][0]
        for row in rows
        for metric, value in row["metrics"].items()
        if value["mean"] is None and value.get("reasons")
    }


def _unique(rows: Sequence[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    return list({row[key]: row for row in rows}.values())
