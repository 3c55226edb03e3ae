"""``settings.json``: what must not change while rows are added to a folder, and the runs that added them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sprdiff.comparison.environment import environment
from sprdiff.comparison.rows import json_text
from sprdiff.errors import SettingsError
from sprdiff.evaluation.plan import Plan
from sprdiff.files import write_file


def read_settings(path: Path) -> dict[str, Any] | None:
    """The settings of earlier runs; None if there were none.

    Raises:
        SettingsError: another program's file.
    """
    if not path.exists():
        return None
    try:
        settings = json.loads(path.read_bytes())
        for key in ("fingerprint", "metrics", "runs"):
            settings[key]
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(f"{path} is not a settings file of this program.") from error
    return settings


def check_settings(earlier: dict[str, Any] | None, plan: Plan) -> None:
    """Passes if the plan's rows may stand beside those of earlier runs.

    The checkpoint may be another one: the rows of SPRDiff are then made anew, those of baselines stay.

    Raises:
        SettingsError: other metrics, or rows of an earlier version with more diffusion steps than one.
    """
    if earlier is not None and earlier.get("num_inference_steps", 1) != 1:
        raise SettingsError(
            f"{plan.out} holds rows with {earlier['num_inference_steps']} diffusion steps, now there is one; "
            "choose another output folder."
        )
    for key, value in _lasting(plan).items():
        if earlier is not None and earlier[key] != value:
            raise SettingsError(
                f"{plan.out} holds rows with {key} {earlier[key]}, now it is {value}; "
                "choose another output folder."
            )


def write_settings(
    path: Path, earlier: dict[str, Any] | None, plan: Plan, folder: Path, processes: int, model: str | None
) -> dict[str, Any]:
    """Writes and returns the settings with this run added."""
    run = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "folder": str(folder),
        "model": model,
        "fingerprint": plan.fingerprint,
        "methods": list(plan.method_ids),
        "bpps": list(plan.bpps),
        "set_metrics": list(plan.set_metric_ids),
        "keep": plan.keep,
        "processes": processes,
        **environment(),
    }
    runs = earlier["runs"] if earlier else []
    settings = {"fingerprint": plan.fingerprint, **_lasting(plan), "runs": [*runs, run]}
    write_file(path, json_text(settings))
    return settings


def _lasting(plan: Plan) -> dict[str, Any]:
    return {"metrics": list(plan.metric_ids)}
