"""``loss_curve.py RUN PHOTOGRAPHS KILLED``: a small training of the diffusion stage, its losses written down.

Every process writes a line of JSON for each step to ``RUN/RANK.jsonl``. At step ``KILLED`` each kills itself,
before its adversary has made the step; with 0 none does, and a run that was begun goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import teachers
from accelerate.utils import set_seed
from runs import AT_ONCE, make

from sprdiff.training.loop import Schedule, Training

STEPS = 8
SAVE_EVERY = 3


def main(run: Path, photos: Path, killed: int) -> None:
    teachers.install(pytest.MonkeyPatch())
    set_seed(0)
    stage = make("diffusion", photos, run, {"steps": STEPS, **AT_ONCE})
    schedule = Schedule(save_every=SAVE_EVERY, validate_every=STEPS + 1, resume=not killed)
    training = Training(stage, photos, run, schedule)
    step, after_step = training.step, stage.after_step
    log = (run / f"{training.accelerator.process_index}.jsonl").open("a")

    def remembering(batches):
        values = step(batches)
        log.write(json.dumps({name: float(value) for name, value in values.items()}) + "\n")
        log.flush()
        return values

    def killing(*arguments):
        if training.clock.step == killed - 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return after_step(*arguments)

    training.step = remembering
    if killed:
        stage.after_step = killing
    training.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
