"""The imitation stage: its pictures, where they come from, and what it is asked to do with them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import Image
from teachers import make_taught, save_taught
from tiny import SMALL, small_pipeline

from sprdiff.errors import InputImageError, SettingsError, WeightsError
from sprdiff.training import teacher
from sprdiff.training.__main__ import unpack
from sprdiff.training.data import Taught, TaughtCrops, to_pixels
from sprdiff.training.imitation_stage import ImitationObjective, ImitationStage
from sprdiff.training.loop import StageOptions
from sprdiff.training.refiner import load_refiner


@pytest.fixture
def run(tmp_path) -> Path:
    """A run that holds every part of a small checkpoint."""
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    return tmp_path / "run"


def test_a_taught_picture_comes_back_from_its_file(tmp_path):
    made = make_taught(3)
    (tmp_path / "a.npz").write_bytes(made.to_bytes())
    read = Taught.read(tmp_path / "a.npz")
    assert read.quality == 103
    assert all(np.array_equal(a, b) and a.dtype == np.uint8 for a, b in zip(made[:3], read[:3], strict=True))


def is_in(crop: torch.Tensor, picture: torch.Tensor) -> bool:
    windows = picture.unfold(1, crop.shape[1], 1).unfold(2, crop.shape[2], 1)  # (3, rows, columns, h, w)
    return bool((windows == crop[:, None, None]).all(-1).all(-1).all(0).any())


def test_crops_show_the_same_place_in_all_three_pictures(tmp_path):
    random = np.random.default_rng(0)
    for seed in range(2):
        x = random.integers(0, 80, (96, 72, 3), dtype=np.uint8)
        (tmp_path / f"{seed}.npz").write_bytes(Taught(x, x + 80, x + 160, 100.0 + seed).to_bytes())
    paths = sorted(tmp_path.iterdir())
    x, coarse, taught, quality = TaughtCrops(paths, 64, 0).batch(16)
    assert x.shape == (16, 3, 64, 64) and x.min() >= -1 and taught.max() <= 1
    assert torch.allclose(coarse - x, torch.tensor(80 / 127.5), atol=1e-6)
    assert torch.allclose(taught - x, torch.tensor(160 / 127.5), atol=1e-6)
    assert set(quality.tolist()) == {100, 101}
    # Every crop is in its picture, half of them flipped.
    pictures = {each.quality: to_pixels(each.x) for each in map(Taught.read, paths)}
    straight = [is_in(crop, pictures[value.item()]) for crop, value in zip(x, quality, strict=True)]
    flipped = [is_in(crop.flip(-1), pictures[value.item()]) for crop, value in zip(x, quality, strict=True)]
    assert all(a != b for a, b in zip(straight, flipped, strict=True))
    assert 2 < sum(flipped) < 14
    again = TaughtCrops(paths, 64, 0).batch(16)
    assert torch.equal(again[0], x) and not torch.equal(TaughtCrops(paths, 64, 1).batch(16)[0], x)
    with pytest.raises(InputImageError, match="None of 2 taught pictures is 80 pixels"):
        TaughtCrops(paths, 80, 0)


def test_the_loss_is_the_difference_to_the_taught_picture(run, monkeypatch):
    objective = ImitationObjective(*load_refiner(SMALL, run)).train()
    x, coarse, taught = (to_pixels(each[:128, :128])[None] for each in make_taught(0)[:3])
    batch = objective.look(x, coarse, torch.tensor([100.0]))
    drawn = {}
    monkeypatch.setattr(objective, "generate", lambda batch: drawn["picture"])
    losses = {}
    for name, picture in (("x", x), ("coarse", coarse), ("taught", taught)):
        drawn["picture"] = picture
        losses[name] = objective((batch, taught), 0.5)
    assert losses["taught"]["loss"].item() == pytest.approx(0, abs=1e-5)
    assert losses["coarse"]["of_coarse"] == 1
    assert losses["coarse"]["l1"].item() == pytest.approx((coarse - taught).abs().mean().item())
    assert losses["coarse"]["structure"] > 0.01
    assert losses["x"]["loss"] > 0.01, "it is the teacher's picture that counts, not the original"


def test_without_taught_pictures_the_stage_says_where_they_come_from(run, tmp_path):
    with pytest.raises(SettingsError, match=r"needs --taught; python -m sprdiff\.training\.teacher"):
        ImitationStage(SMALL, run, None, StageOptions())
    save_taught(tmp_path / "taught", count=1)
    with pytest.raises(SettingsError, match=r"at least 2 taught pictures; .*taught holds 1"):
        ImitationStage(SMALL, run, None, StageOptions(taught=tmp_path / "taught"))


# the teacher


def test_a_teacher_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(WeightsError, match="pip install ncnn"):
        teacher.RealESRGAN(tmp_path)
    monkeypatch.setitem(sys.modules, "ncnn", type(sys)("ncnn"))
    monkeypatch.setattr(sys.modules["ncnn"], "Mat", None, raising=False)
    monkeypatch.setattr(sys.modules["ncnn"], "Net", None, raising=False)
    with pytest.raises(WeightsError, match=r"realesrgan-x4plus\.param does not exist"):
        teacher.RealESRGAN(tmp_path)


def test_the_teacher_is_asked_about_coarse_pictures_of_the_training_set(run, tmp_path, monkeypatch):
    asked = []

    class Enlarger:
        def __init__(self, folder: Path) -> None:
            pass

        def __call__(self, image: Image.Image) -> Image.Image:
            asked.append(image.size)
            return image.resize((4 * image.width, 4 * image.height), Image.Resampling.BICUBIC)

    monkeypatch.setattr(teacher, "RealESRGAN", Enlarger)
    photos, out = tmp_path / "photos", tmp_path / "taught"
    photos.mkdir()
    for seed in range(3):
        make_photo(200, 260, seed).save(photos / f"{seed}.png")
    make_photo(200, 180).save(photos / "small.png")
    for _ in range(2):  # the second time there is nothing to do
        teacher.main(photos, run, tmp_path, out, minutes=10)
    # The first photograph is held out, the last one too small.
    assert sorted(path.name for path in out.iterdir()) == ["1.npz", "2.npz"]
    assert len(asked) == 2 and set(asked) <= {(48, 64), (64, 85)}
    made = Taught.read(out / "1.npz")
    original = np.asarray(make_photo(200, 260, 1))[:256, :192]
    assert np.array_equal(made.x, original)
    assert made.coarse.shape == made.taught.shape == original.shape
    assert teacher.QUALITIES[0] <= made.quality <= teacher.QUALITIES[1]
    expected = small_pipeline().decompress(
        small_pipeline().compress(Image.fromarray(original), quality=round(made.quality)), coarse_only=True
    )
    difference = np.abs(np.asarray(expected.coarse, float) - made.coarse)
    assert difference.mean() < 2
