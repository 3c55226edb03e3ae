"""The teacher: where its weights come from, what it returns, and which pictures it restores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import teachers
import torch
import torch.nn.functional as F
from conftest import make_photo
from PIL import Image
from tiny import SMALL, small_pipeline
from torch import nn

from sprdiff.decoding import DecodingSettings
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.training import teacher as teacher_command
from sprdiff.training import teacher_stage
from sprdiff.training.__main__ import unpack
from sprdiff.training.data import Crops, Taught, list_images
from sprdiff.training.qualities import QualityRange
from sprdiff.training.real_esrgan import NAME, RealESRGAN
from sprdiff.training.settings import read_settings
from sprdiff.training.stage import StageOptions
from sprdiff.training.teacher import TaughtSettings, cut
from sprdiff.training.teacher_stage import TeacherSettings, TeacherStage, load_teacher, restore


@pytest.fixture(autouse=True)
def small_teachers(monkeypatch) -> None:
    teachers.install(monkeypatch)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run that holds every part of a small checkpoint."""
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        make_photo(200, 260, seed).save(folder / f"{seed}.png")
    make_photo(200, 180).save(folder / "small.png")
    return folder


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in module.parameters()])


@pytest.mark.parametrize("half", [True, False])
def test_weights_are_read_from_ncnns_file(tmp_path, half):
    torch.manual_seed(0)
    stored, network = RealESRGAN(2, 6, 3), RealESRGAN(2, 6, 3)
    teachers.write_ncnn(stored, tmp_path / "weights.bin", half)
    assert not torch.allclose(weights(network), weights(stored), atol=1e-3)
    network.read(tmp_path / "weights.bin")
    assert torch.allclose(weights(network), weights(stored), atol=1e-4 if half else 0)


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.bin cannot be read"):
        RealESRGAN(1, 4, 2).read(tmp_path / "gone.bin")
    file = tmp_path / "weights.bin"
    teachers.write_ncnn(RealESRGAN(1, 4, 2), file)
    whole = file.read_bytes()
    for wrong in (whole[:-4], whole + b"more", b"\1" + whole[1:]):
        file.write_bytes(wrong)
        with pytest.raises(WeightsError, match=rf"does not hold the .* weights of {NAME}: it has"):
            RealESRGAN(1, 4, 2).read(file)


def test_the_teacher_shows_four_depths_and_can_learn_to_look_at_full_size():
    torch.manual_seed(0)
    network = RealESRGAN(6, 8, 4)
    x = torch.rand(2, 3, 64, 48) * 2 - 1
    restored, features = network(x)
    assert restored.shape == x.shape
    assert [each.shape for each in features] == [(2, 8, 16, 12)] * 4
    with torch.no_grad():
        network.full_size.weight.normal_(std=0.1)
    assert not torch.allclose(network(x)[0], restored)


def test_restored_pictures_keep_their_colours():
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    flat = x.mean((2, 3), keepdim=True).expand_as(x)
    restored, _ = restore(teachers.small_teacher(), flat)
    cell = DecodingSettings.colour_cell
    assert torch.allclose(F.avg_pool2d(restored, cell), F.avg_pool2d(flat, cell), atol=0.02)


def test_the_stage_starts_from_the_files_and_goes_on_from_the_run(run, photos, tmp_path, monkeypatch):
    settings = TeacherSettings(crop=64)
    crops = Crops(list_images(photos), 64, 1.0, 0)
    with pytest.raises(SettingsError, match=rf"needs --backbones, a folder with {NAME}\.bin"):
        TeacherStage(settings, SMALL, run, crops, StageOptions())
    stored = teachers.small_teacher()
    teachers.write_ncnn(stored, tmp_path / f"{NAME}.bin", half=False)
    stage = TeacherStage(settings, SMALL, run, crops, StageOptions(backbones=tmp_path))
    teacher = stage.objective.trained["teacher"]
    assert torch.equal(weights(teacher), weights(stored)) and teacher.training
    with pytest.raises(WeightsError, match=r"teacher\.safetensors does not exist; train the teacher stage"):
        load_teacher(run)
    with torch.no_grad():
        teacher.first.bias.add_(1)
    stage.save(run)
    assert torch.equal(weights(load_teacher(run)), weights(teacher))
    again = TeacherStage(settings, SMALL, run, crops, StageOptions())
    assert torch.equal(weights(again.objective.trained["teacher"]), weights(teacher))
    assert all(parameter.requires_grad for parameter in again.objective.trained["teacher"].parameters())
    assert again.objective.criterion.course.adversary_starts == 0, "the adversary goes on, too"


def test_the_teacher_is_asked_about_coarse_pictures_of_the_training_set(run, photos, tmp_path, monkeypatch):
    asked = []
    teacher = teachers.small_teacher().eval()

    def ask(x_coarse: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        asked.append(x_coarse)
        return RealESRGAN.forward(teacher, x_coarse)

    monkeypatch.setattr(teacher, "forward", ask)
    monkeypatch.setattr(teacher_stage, "load_teacher", lambda folder: teacher)
    out = tmp_path / "taught"
    for _ in range(2):  # the second time there is nothing to do
        teacher_command.main(photos, run, out, minutes=10, change=["zoomed=0", "graphics=0"])
    # The first photograph is held out, the last one too small.
    assert (
        sorted(path.name for path in out.iterdir()) == ["1.npz", "2.npz", "teacher.yaml"] and len(asked) == 2
    )
    assert read_settings(TaughtSettings, out / "teacher.yaml") == TaughtSettings(zoomed=0, graphics=0)
    made = Taught.read(out / "1.npz")
    assert made.x.shape == made.coarse.shape == made.taught.shape == (256, 192, 3)
    assert made.features.shape == (64, 48, 4, SMALL.conditions["pixel_channels"])
    assert QualityRange().core[0] <= made.quality <= QualityRange().core[1]
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(make_photo(200, 260, 1)), (256, 192, 3))
    assert (windows[:, :, 0] == made.x).all((2, 3, 4)).any(), "a part of the photograph at its own size"
    expected = small_pipeline().decompress(
        small_pipeline().compress(Image.fromarray(made.x), quality=round(made.quality)), coarse_only=True
    )
    assert np.abs(np.asarray(expected.coarse, float) - made.coarse).mean() < 2


def test_photographs_are_enlarged_and_drawings_take_their_place(run, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_stage, "load_teacher", lambda folder: teachers.small_teacher().eval())
    x = torch.rand(3, 300, 260) * 2 - 1

    def sizes(**settings) -> set[tuple[int, ...]]:
        settings = TaughtSettings(**settings)
        return {tuple(cut(x, settings, np.random.default_rng(seed)).shape[1:]) for seed in range(20)}

    assert sizes(zoomed=0.0) == {(256, 256)} and sizes(zoomed=0.0, largest=192) == {(192, 192)}
    zoomed = sizes(zoomed=1.0)
    assert len(zoomed) > 1 and all(256 <= side <= 448 and side % 64 == 0 for size in zoomed for side in size)
    changes = ["graphics=1", "graphics_side=128", "smallest=128", "qualities.core=[10, 20]"]
    teacher_command.main(photos, run, tmp_path / "drawn", minutes=10, change=changes)
    made = [Taught.read(path) for path in (tmp_path / "drawn").glob("*.npz")]
    assert len(made) == 3 and all(each.x.shape == (128, 128, 3) for each in made)
    assert all(10 <= each.quality <= 20 for each in made)
    teacher_command.main(
        photos, run, tmp_path / "none", minutes=10, change=["graphics=1", "graphics_side=128"]
    )
    assert not list((tmp_path / "none").glob("*.npz")), "smaller than the smallest"
