"""``torchrun one_step.py STAGE PHOTOGRAPHS RUN FILE``: the gradients of one step, whoever shares its batch.

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

from sprdiff.training import restoration, teacher_stage
from sprdiff.training.data import Crops, list_images, stream
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.stage import StageOptions
from sprdiff.training.stages import STAGES


def main(name: str, photos: Path, run: Path, file: Path) -> None:
    """Write the gradients of the trained parts, and of an adversary's heads."""
    patch = pytest.MonkeyPatch()
    teachers.install(patch)
    patch.setattr(restoration, "ADVERSARY_STARTS", -1.0)
    patch.setattr(torch, "randn_like", torch.zeros_like)
    patch.setattr(teacher_stage, "draw_qualities", lambda count, device: torch.full((count,), 150.0))
    stage_class = STAGES[name]
    patch.setattr(stage_class, "crop", 64)
    patch.setattr(stage_class, "batch_size", 4)
    patch.setattr(stage_class, "graphics", 0.0)
    set_seed(0)
    crops = Crops(list_images(photos), 64, 1.2, 0)
    stage = stage_class(SMALL, run, crops, StageOptions(backbones=photos))
    training = Training(stage, photos, run, Schedule(steps=4, mixed_precision="no"))
    accelerator = training.accelerator
    share = 4 // accelerator.num_processes
    batches = stream(
        training.source, share, 0, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    stage.objective.train()
    training.step(next(batches))
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
    main(sys.argv[1], *map(Path, sys.argv[2:]))
