"""Training on a GPU, tried without one: tensors that have a device and a shape but no memory."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import teachers
import torch
from tiny import SMALL
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from sprdiff.training.data import Crops, list_images
from sprdiff.training.stage import Stage, StageOptions
from sprdiff.training.stages import STAGES
from sprdiff.training.teacher_stage import TEACHER_FILE

# Autocast notices that there is none.
pytestmark = pytest.mark.filterwarnings("ignore:CUDA is not available")
GPU = torch.device("cuda")
# As accelerate is on a GPU, as far as stages look at it.
ACCELERATOR = SimpleNamespace(
    device=GPU,
    autocast=lambda: torch.autocast("cuda", torch.bfloat16),
    backward=lambda loss: None,
    sync_gradients=True,
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return teachers.save_photographs(folder, 3, 136, 128)


@pytest.fixture
def build(photos, tmp_path, monkeypatch):
    """Builds a stage after what must come before it, on the CPU."""
    teachers.install(monkeypatch)

    def built(name: str, taught: Path | None = None) -> Stage:
        for before in list(STAGES)[: list(STAGES).index(name)]:
            make(before, None).save(tmp_path)
        return make(name, taught)

    def make(name: str, taught: Path | None) -> Stage:
        settings = STAGES[name].settings_type(crop=64)
        crops = Crops(list_images(photos), 64, 1.2, 0)
        return STAGES[name](settings, SMALL, tmp_path, crops, StageOptions(backbones=photos, taught=taught))

    (tmp_path / TEACHER_FILE).parent.mkdir()
    return built


def to_gpu(module: nn.Module, mode: FakeTensorMode) -> None:
    """What ``module.to("cuda")`` would do."""
    for each in module.modules():
        for name, parameter in list(each.named_parameters(recurse=False)):
            moved = mode.from_tensor(parameter.detach()).to(GPU)
            setattr(each, name, nn.Parameter(moved, requires_grad=parameter.requires_grad))
        for name, buffer in list(each.named_buffers(recurse=False)):
            setattr(each, name, mode.from_tensor(buffer).to(GPU))


@pytest.fixture
def no_backward(monkeypatch) -> None:
    """Autograd's engine would look for the GPU; gradients on the way are zeros of the right shape."""
    monkeypatch.setattr(torch.autograd, "grad", lambda output, x: (torch.zeros_like(x),))


def step(stage: Stage, photos: Path, objective: nn.Module) -> dict[str, Any]:
    """The losses of one step whose ``objective`` is on the GPU."""
    batch = stage.source(list_images(photos)).batch(4)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        to_gpu(objective, mode)
        stage.objective.train()
        batch = stage.before_step(ACCELERATOR, batch)
        with ACCELERATOR.autocast():
            losses = stage.objective(batch, 0.5)
        if hasattr(stage, "optimizer"):
            stage.optimizer = SimpleNamespace(param_groups=[], zero_grad=lambda: None, step=lambda: None)
        return losses | stage.after_step(ACCELERATOR, batch, 0.5)


@pytest.mark.parametrize("name", [*STAGES, "imitation from files", "diffusion from files"])
def test_every_part_of_a_stage_moves_to_the_gpu(name, build, photos, no_backward):
    name, _, files = name.partition(" from ")
    stage = build(name, photos / "taught" if files else None)
    losses = step(stage, photos, stage.objective)
    assert losses and {value.device.type for value in losses.values()} == {"cuda"}


def test_a_part_that_is_left_behind_is_found(build, photos, no_backward):
    stage = build("codec")
    with pytest.raises(RuntimeError, match="device"):
        step(stage, photos, stage.objective.trained)


def test_validation_asks_nothing_of_the_cpu(build, photos, monkeypatch):
    """Figures are numbers, which tensors without memory do not have; what they are taken of must be."""
    stage = build("codec")
    measured: list[Tensor] = []
    monkeypatch.setattr(
        "sprdiff.training.transform_stages.psnr_db", lambda x, y: measured.extend((x, y)) or 0.0
    )
    monkeypatch.setattr(Tensor, "__float__", lambda self: 0.0)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        to_gpu(stage.objective, mode)
        stage.validate([torch.zeros(1, 3, 64, 64, device=GPU)])
    assert measured and {each.device.type for each in measured} == {"cuda"}
