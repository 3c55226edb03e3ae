"""Training in two processes, as ``torchrun`` starts them, beside training in one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import teachers
import torch
from loss_curve import SAVE_EVERY, STEPS
from safetensors.torch import load_file
from tiny import small_pipeline

from sprdiff.training.__main__ import unpack

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return teachers.save_photographs(folder, 4, 200, 196)


def start(processes: int, *command: str) -> subprocess.Popen:
    """A command of Python in so many processes that know of each other."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.Popen(
        [sys.executable, *(launcher if processes > 1 else []), *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(child: subprocess.Popen) -> None:
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output[-3000:]


@pytest.mark.parametrize("name", ["vae", "teacher"])
def test_a_batch_that_is_shared_has_the_gradients_of_a_whole_one(name, photos, tmp_path):
    """By two processes, and by one in two passes."""
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    gradients = []
    for processes, passes in ((1, 1), (2, 1), (1, 2)):
        run, file = tmp_path / f"run{len(gradients)}", tmp_path / f"{len(gradients)}.safetensors"
        unpack(tmp_path / "checkpoint", run)
        script = str(REPOSITORY / "tests/one_step.py")
        finish(start(processes, script, name, str(photos), str(run), str(file), str(passes)))
        gradients.append(load_file(file))
    whole = gradients[0]
    for shared in gradients[1:]:
        assert whole.keys() == shared.keys()
        for group in {key.split(".")[0] for key in whole}:
            # Some are zero but for rounding, such as those of colours that are kept.
            largest = max(float(value.abs().max()) for key, value in whole.items() if key.startswith(group))
            assert largest > 0
            for key, value in whole.items():
                if key.startswith(group):
                    assert torch.allclose(value, shared[key], rtol=1e-3, atol=2e-4 * largest), key


def test_two_processes_that_are_killed_end_like_two_that_are_not(photos, tmp_path):
    def vae(run: Path, *more: str) -> subprocess.Popen:
        command = ["-m", "sprdiff.training", "vae", "--data", str(photos), "--out", str(run), "--steps", "60"]
        command += ["--set", "batch_size=2", "--save-every", "5", "--validate-every", "100"]
        return start(2, *command, *more)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(vae(whole))
    child = vae(broken)
    deadline = time.monotonic() + 200
    while not (broken / "state" / "vae").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    # The launcher first: it would report that one of its children is gone.
    launcher = psutil.Process(child.pid)
    for process in (launcher, *launcher.children(recursive=True)):
        process.kill()
    child.communicate()
    assert not (broken / "vae.jsonl").exists(), "it was over before the kill"
    finish(vae(broken, "--resume"))
    mine, theirs = (load_file(run / "vae" / "diffusion_pytorch_model.safetensors") for run in (broken, whole))
    assert all(torch.equal(value, theirs[key]) for key, value in mine.items())


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_run_with_an_adversary_has_the_losses_of_one_that_was_not(processes, photos, tmp_path):
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    for run in ("whole", "broken"):
        unpack(tmp_path / "checkpoint", tmp_path / run)

    def train(run: str, killed: int = 0) -> subprocess.Popen:
        script = str(REPOSITORY / "tests/loss_curve.py")
        return start(processes, script, str(tmp_path / run), str(photos), str(killed))

    def curves(run: str) -> list[list[str]]:
        return [(tmp_path / run / f"{rank}.jsonl").read_text().splitlines() for rank in range(processes)]

    killed = train("broken", killed=6)
    output, _ = killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL or "SIGKILL" in output, output[-3000:]
    assert [len(curve) for curve in curves("broken")] == [5] * processes
    finish(train("broken"))
    finish(train("whole"))
    for whole, broken in zip(curves("whole"), curves("broken"), strict=True):
        assert len(whole) == STEPS and "adversary" in json.loads(whole[0])
        # Resumed after the last saved step; two steps are made again.
        assert broken[:5] == whole[:5] and broken[5:] == whole[SAVE_EVERY:]
    assert len({json.dumps(curve) for curve in curves("whole")}) == processes, "each has crops of its own"
