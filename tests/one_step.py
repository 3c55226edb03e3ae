"""``torchrun one_step.py STAGE PHOTOGRAPHS RUN FILE PASSES``: the gradients of one step, shared or not.

Every crop has one quality, noise is off and nothing is rounded to half precision, so that one process and two
can be compared.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import teachers
import torch
from accelerate.utils import set_seed
from safetensors.torch import save_file
from tiny import SMALL

from sprdiff.training.data import Crops, list_images, stream
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.qualities import QualityRange
from sprdiff.training.settings import read_settings
from sprdiff.training.stage import StageOptions
from sprdiff.training.stages import STAGES


def main(name: str, photos: Path, run: Path, file: Path, passes: int) -> None:
    """Write the gradients of the trained parts, and of an adversary's heads."""
    patch = pytest.MonkeyPatch()
    teachers.install(patch)
    patch.setattr(torch, "randn_like", torch.zeros_like)
    patch.setattr(QualityRange, "draw", lambda self, count, device: torch.full((count,), 150.0))
    changes = {"steps": 4, "crop": 64, "batch_size": 4, "graphics": 0.0, "mixed_precision": "no"}
    if name == "teacher":
        changes["adversary.starts"] = -1.0
    settings = read_settings(STAGES[name].settings_type, changes=changes | {"accumulate": passes})
    set_seed(0)
    crops = Crops(list_images(photos), 64, 1.2, 0)
    stage = STAGES[name](settings, SMALL, run, crops, StageOptions(backbones=photos))
    for module in stage.objective.modules():
        if hasattr(module, "n_power_iterations"):
            # Spectral norms come nearer to the true ones with every pass, which is not what is compared.
            module.n_power_iterations = 0
    training = Training(stage, photos, run, Schedule())
    accelerator = training.accelerator
    batches = stream(
        training.source,
        training.share,
        0,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
    )
    stage.objective.train()
    training.step(batches)
    # The optimizers have kept what they were given.
    state = training.optimizer.state
    moments = {f"trained.{i}": state[each]["exp_avg"] for i, each in enumerate(training.parameters)}
    if hasattr(stage, "heads"):
        state = stage.optimizer.state
        moments |= {f"head.{i}": state[each]["exp_avg_sq"].sqrt() for i, each in enumerate(stage.heads)}
    if accelerator.is_main_process:
        save_file({key: value.contiguous() for key, value in moments.items()}, file)
    accelerator.wait_for_everyone()
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]), int(sys.argv[5]))
