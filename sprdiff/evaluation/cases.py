"""The images on which a method did worst and best, with the pictures that its kept files decode to."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from sprdiff.comparison.rows import Row
from sprdiff.errors import SettingsError, SPRDiffError
from sprdiff.evaluation.curves import AXES
from sprdiff.evaluation.datasets import read_bytes
from sprdiff.evaluation.set_metrics import check_picture
from sprdiff.images import load_image
from sprdiff.methods import COARSE, FINAL, METHODS, build_methods, needs_pipeline

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

MOST_SIDES = (1024, 768)
"""Pixels: of a larger picture the middle is shown, since a page with whole ones would not open any more."""
_USUAL_BPP = 0.03


@dataclass(frozen=True)
class Panel:
    """One picture of a case.

    Attributes:
        label: name of the method, or ``Original``.
        row: what was measured; None for the original.
        png: as a data URI; None if it cannot be shown.
        why: the reason where it cannot.
    """

    label: str
    row: Row | None
    png: str | None
    why: str | None = None


@dataclass(frozen=True)
class Case:
    """One image with what some methods made of it.

    Attributes:
        image: its name.
        kind: ``worst`` or ``best``.
        cropped: whether only the middle is shown.
    """

    image: str
    kind: str
    panels: list[Panel]
    cropped: bool


def find_cases(
    rows: Sequence[Row], metric: str, count: int
) -> tuple[str, float, list[tuple[str, str]], list[str]]:
    """What to show: the method and budget to judge by, (kind, image) of the cases, and the methods beside.

    Args:
        metric: what best and worst are meant by, for the final output of SPRDiff or the first method.
        count: of the worst cases, and of the best.
    Raises:
        SettingsError: no row has the metric.
    """
    order = list(METHODS)
    rows = [row for row in rows if row["metrics"].get(metric) is not None]
    if not rows:
        raise SettingsError(f"No row has a value of {metric}.")
    methods = sorted({row["method"] for row in rows}, key=order.index)
    judged = FINAL if FINAL in methods else methods[0]
    budgets = {row["target_bpp"] for row in rows if row["method"] == judged}
    budget = min(budgets, key=lambda bpp: abs(math.log(bpp / _USUAL_BPP)))
    sign = 1 if AXES[metric].higher_is_better else -1
    at_budget = [row for row in rows if row["target_bpp"] == budget]
    ranked = sorted(
        (row for row in at_budget if row["method"] == judged), key=lambda row: sign * row["metrics"][metric]
    )
    count = min(count, len(ranked) // 2) if len(ranked) > 1 else len(ranked)
    found = [("worst", row["image"]) for row in ranked[:count]]
    found += [("best", row["image"]) for row in ranked[::-1][:count] if ("worst", row["image"]) not in found]

    def mean(method: str) -> float:
        values = [sign * row["metrics"][metric] for row in at_budget if row["method"] == method]
        return sum(values) / len(values) if values else -math.inf

    baselines = sorted((m for m in methods if m not in (COARSE, FINAL, judged)), key=mean, reverse=True)
    beside = [method for method in (COARSE, FINAL) if method in methods]
    return judged, budget, found, list(dict.fromkeys([*beside, judged, *baselines[: 3 - len(beside)]]))


def show_case(
    kind: str,
    image: str,
    rows: Mapping[str, Row],
    methods: Sequence[str],
    *,
    images: Path,
    out: Path,
    load: Callable[[], SPRDiffPipeline],
) -> Case:
    """The original and a panel for each method, decoded from the files that ``--keep`` left.

    Args:
        rows: of this image and budget, by method.
        images: folder of the originals. out: folder of the results.
        load: gives the model, when a stream of SPRDiff is to be decoded.
    """
    panels, cropped = [], False

    def add(label: str, row: Row | None, picture: Callable[[], Image.Image]) -> None:
        nonlocal cropped
        try:
            whole = picture()
        except (SPRDiffError, OSError) as error:
            panels.append(Panel(label, row, None, str(error)))
            return
        shown = _middle(whole)
        cropped = cropped or shown.size != whole.size
        panels.append(Panel(label, row, _data_uri(shown)))

    present = [method for method in methods if method in rows]
    add("Original", None, functools.partial(_original, images / image, rows[present[0]]))
    for method in present:
        picture = functools.partial(_decode, rows[method], out, load)
        add(METHODS[method], rows[method], picture)
    return Case(image, kind, panels, cropped)


def _original(path: Path, row: Row) -> Image.Image:
    if not path.is_file():
        raise SettingsError("the original is not there; say where it is with --images")
    content = read_bytes(path)
    if hashlib.sha256(content).hexdigest() != row["sha256"]:
        raise SettingsError("the original has changed since it was measured")
    return load_image(content)


def _decode(row: Row, out: Path, load: Callable[[], SPRDiffPipeline]) -> Image.Image:
    path = out / (row["file"] or "")
    if not path.is_file():
        raise SettingsError("its file was not kept; evaluate with --keep")
    pipeline = None
    if needs_pipeline([row["method"]]):
        pipeline = load()
        if row["fingerprint"] not in pipeline.readable_fingerprints:
            raise SettingsError("it was made with another checkpoint than the one that is loaded")
    (codec,) = build_methods([row["method"]], pipeline).values()
    picture = codec.decompress(path.read_bytes(), size=(row["width"], row["height"]))
    check_picture(picture, row)
    return picture


def _middle(picture: Image.Image) -> Image.Image:
    width, height = (min(side, most) for side, most in zip(picture.size, MOST_SIDES, strict=True))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _data_uri(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
