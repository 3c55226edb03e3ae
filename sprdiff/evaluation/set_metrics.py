"""FID and KID of every method and budget, measured on the pictures that the kept files decode to.

They need all pictures of a set at once, and rows of a run that was interrupted come without theirs; so each
picture is decoded again from its file, and must be the one that was measured before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from sprdiff.comparison.rows import Row, json_text
from sprdiff.errors import SettingsError, SPRDiffError, WeightsError
from sprdiff.evaluation.plan import Plan
from sprdiff.files import write_file
from sprdiff.images import load_image
from sprdiff.methods import build_methods, needs_pipeline
from sprdiff.metrics import METRICS, UndefinedMetricError
from sprdiff.metrics.patches import SET_METRICS, patch_features

if TYPE_CHECKING:
    import torch

    from sprdiff.pipeline import SPRDiffPipeline


def check_all_metrics(ids: Iterable[str]) -> tuple[list[str], list[str]]:
    """The metrics of one picture and those of a set, each without repetitions.

    Raises:
        SettingsError: an unknown id; the message lists the known ones.
    """
    chosen = list(dict.fromkeys(ids))
    for metric in chosen:
        if metric not in METRICS and metric not in SET_METRICS:
            known = ", ".join([*METRICS, *SET_METRICS])
            raise SettingsError(f"Unknown metric {metric!r}; known are {known}.")
    single = [metric for metric in chosen if metric in METRICS]
    return single, [metric for metric in chosen if metric in SET_METRICS]


def measure_sets(
    plan: Plan,
    averages: Sequence[dict[str, Any]],
    rows: Sequence[Row],
    folder: Path,
    pipeline: SPRDiffPipeline | None,
    *,
    progress: Callable[[str], None],
) -> None:
    """Adds the plan's set metrics to the ``metrics`` of each of ``averages``, as a mean or a reason.

    Values are remembered in ``sets.json``, so that only what has changed is computed again.

    Args:
        averages: of ``results.means``.
        rows: those the averages are of.
        folder: the originals.
    """
    if not plan.set_metric_ids:
        return
    memory_path = plan.out / "sets.json"
    memory = json.loads(memory_path.read_bytes()) if memory_path.exists() else {}
    originals: dict[str, torch.Tensor] = {}
    for average in averages:
        group = [row for row in rows if _place(row) == _place(average)]
        key = _key(group)
        todo = [metric for metric in plan.set_metric_ids if metric not in memory.get(key, {})]
        reason = None
        if todo:
            progress(f"{' and '.join(todo)}: {average['method']} at {average['target_bpp']:g}")
            try:
                memory.setdefault(key, {}).update(_measure(todo, group, plan, folder, pipeline, originals))
                write_file(memory_path, json_text(memory))
            except (UndefinedMetricError, SPRDiffError, OSError) as error:
                reason = str(error)
        for metric in plan.set_metric_ids:
            average["metrics"][metric] = memory.get(key, {}).get(metric) or _dash(reason, len(group))


def _measure(
    metrics: Sequence[str],
    group: Sequence[Row],
    plan: Plan,
    folder: Path,
    pipeline: SPRDiffPipeline | None,
    originals: dict[str, torch.Tensor],
) -> dict[str, dict[str, Any]]:
    import torch

    method = group[0]["method"]
    if needs_pipeline([method]) and pipeline is None:
        raise WeightsError("its files can only be decoded where the model is loaded")
    (codec,) = build_methods([method], pipeline).values()
    features = []
    for row in group:
        if row["image"] not in originals:  # shared by all methods and budgets
            originals[row["image"]] = patch_features(load_image(folder / row["image"]))
        path = plan.out / (row["file"] or "")
        if not path.is_file():
            raise SettingsError(f"the compressed file of {row['image']} was not kept")
        picture = codec.decompress(path.read_bytes(), size=(row["width"], row["height"]))
        check_picture(picture, row)
        features.append(patch_features(picture))
    reference, others = torch.cat([originals[row["image"]] for row in group]), torch.cat(features)
    return {
        metric: {"mean": SET_METRICS[metric].function(reference, others), "dashes": 0, "patches": len(others)}
        for metric in metrics
    }


def check_picture(picture: Image.Image, row: Row) -> None:
    """Passes if the picture is the one that the row was measured on.

    Raises:
        SettingsError: it is another one.
    """
    if hashlib.sha256(picture.tobytes()).hexdigest() != row["picture_sha256"]:
        raise SettingsError(f"{row['file']} decodes to another picture here than the one that was measured")


def _dash(reason: str | None, dashes: int) -> dict[str, Any]:
    return {"mean": None, "dashes": dashes, "reasons": [reason or "not measured"]}


def _place(row: dict[str, Any]) -> tuple[str, float]:
    return row["method"], row["target_bpp"]


def _key(group: Sequence[Row]) -> str:
    """Of the originals and the pictures: the values belong to these and no others."""
    hashes = sorted((row["sha256"], row["picture_sha256"]) for row in group)
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
