"""The imitation stage: its pictures, and its losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import teachers
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from teachers import make_taught, save_taught
from tiny import SMALL, small_part, small_pipeline

from sprdiff.errors import InputImageError, SettingsError, WeightsError
from sprdiff.training.__main__ import unpack
from sprdiff.training.data import Taught, TaughtCrops, to_pixels
from sprdiff.training.diffusion_stage import DiffusionSettings, DiffusionStage
from sprdiff.training.imitation_stage import (
    FeatureScale,
    ImitationObjective,
    ImitationSettings,
    ImitationStage,
    Lessons,
)
from sprdiff.training.qualities import QualityRange
from sprdiff.training.stage import StageOptions
from sprdiff.training.stages import STAGES
from sprdiff.training.teacher_stage import TEACHER_FILE, restore


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """A run with a codec and a teacher."""
    teachers.install(monkeypatch)
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    (tmp_path / "run" / TEACHER_FILE).parent.mkdir()
    save_file(teachers.small_teacher().state_dict(), tmp_path / "run" / TEACHER_FILE)
    return tmp_path / "run"


def test_a_taught_picture_comes_back_from_its_file(tmp_path):
    made = make_taught(3)
    (tmp_path / "a.npz").write_bytes(made.to_bytes())
    read = Taught.read(tmp_path / "a.npz")
    assert read.quality == 103
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(made[:4], read[:4], strict=True))


def test_crops_show_the_same_place_in_all_pictures_and_in_the_features(tmp_path):
    random = np.random.default_rng(0)
    for seed in range(2):
        x = random.integers(0, 80, (96, 72, 3), dtype=np.uint8)
        # Every feature is the green of its cell's first pixel, in units that differ between stages.
        features = x[::4, ::4, 1, None, None] * np.ones((1, 1, 4, 5)) * np.arange(1, 5)[:, None]
        made = Taught(x, x + 80, x + 160, features.astype(np.float16), 100.0 + seed)
        (tmp_path / f"{seed}.npz").write_bytes(made.to_bytes())
    paths = sorted(tmp_path.iterdir())
    batch = TaughtCrops(paths, 64, 0).batch(16)
    assert batch.x.shape == (16, 3, 64, 64) and batch.x.min() >= -1 and batch.taught.max() <= 1
    assert torch.allclose(batch.coarse - batch.x, torch.tensor(80 / 127.5), atol=1e-6)
    assert torch.allclose(batch.taught - batch.x, torch.tensor(160 / 127.5), atol=1e-6)
    assert set(batch.quality.tolist()) == {100, 101}
    assert batch.features.shape == (4, 16, 5, 16, 16)
    green = (batch.x[:, 1, ::4, ::4] + 1) * 127.5
    for stage, features in enumerate(batch.features, 1):
        assert torch.allclose(features, stage * green[:, None].expand_as(features), atol=1e-2)
    pictures = {each.quality: to_pixels(each.x) for each in map(Taught.read, paths)}
    for crop, quality in zip(batch.x, batch.quality.tolist(), strict=True):
        windows = pictures[quality].unfold(1, 64, 1).unfold(2, 64, 1)  # (3, rows, columns, 64, 64)
        assert (windows == crop[:, None, None]).all(-1).all(-1).all(0).any()
    assert torch.equal(TaughtCrops(paths, 64, 0).batch(16).x, batch.x)
    assert not torch.equal(TaughtCrops(paths, 64, 1).batch(16).x, batch.x)
    with pytest.raises(InputImageError, match="None of 2 taught pictures is 80 pixels"):
        TaughtCrops(paths, 80, 0)


@pytest.fixture
def crops(tmp_path) -> TaughtCrops:
    save_taught(tmp_path / "taught")
    return TaughtCrops(sorted((tmp_path / "taught").iterdir()), 64, 0)


def test_features_are_scaled_channel_by_channel(crops):
    features = crops.batch(24).features * torch.arange(1, 13)[:, None, None] + 7
    scaled = FeatureScale.measure(features)(features)
    assert scaled.mean((1, 3, 4)).abs().max() < 1e-4
    assert torch.allclose(scaled.std((1, 3, 4)), torch.ones(4, 12), atol=1e-3)
    dead = FeatureScale.measure(torch.ones(4, 2, 12, 3, 3))
    assert torch.isfinite(dead(torch.ones(4, 2, 12, 3, 3))).all()


def test_the_loss_counts_features_and_the_picture(crops):
    batch = crops.batch(4)
    conditions = small_part("conditions")
    objective = ImitationObjective(conditions, FeatureScale.measure(batch.features), ImitationSettings())
    with torch.no_grad():
        losses = objective(batch, 1.0)
        assert losses["of_coarse"] == 1, "its picture starts as the coarse one"
        own = torch.stack(conditions.pixel_features(batch.coarse))
        matched = batch._replace(features=own, taught=batch.coarse)
        objective.scale = torch.nn.Identity()
        assert objective(matched, 1.0)["loss"].item() == pytest.approx(0, abs=1e-6)
        other = batch._replace(features=own + 0.1, taught=batch.coarse)
        assert objective(other, 1.0)["loss"].item() == pytest.approx(0.5 * 4 * 0.1**2, rel=1e-3)
        original = batch._replace(features=own, taught=batch.x)
        expected = 20 * (batch.coarse - batch.x).abs().mean()
        assert objective(original, 1.0)["loss"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_stages_start_apart_and_then_from_each_other(crops):
    batch = crops.batch(2)
    settings = ImitationSettings()
    scale = FeatureScale.measure(batch.features)
    objective = ImitationObjective(small_part("conditions"), scale, settings)

    def reached(progress: float) -> list[bool]:
        """Which stages learn from what the last one gives."""
        objective.zero_grad()
        features = []
        handles = [
            stage.register_forward_hook(lambda m, i, out: features.append(out))
            for stage in objective.trained["conditions"].pixel
        ]
        objective(batch, progress)
        for handle in handles:
            handle.remove()
        features[-1].square().sum().backward()
        return [
            any(p.grad is not None and p.grad.any() for p in stage.parameters())
            for stage in objective.trained["conditions"].pixel
        ]

    assert reached(settings.apart_until / 2) == [False, False, False, True]
    assert reached(settings.apart_until) == [True] * 4


def test_without_taught_pictures_the_teacher_is_asked_itself(run, tmp_path):
    lessons = Lessons(run, None, ImitationSettings(crop=64))
    assert lessons.source is None
    torch.manual_seed(0)
    batch = lessons.batch(Accelerator(mixed_precision="bf16"), torch.rand(3, 3, 64, 64) * 2 - 1)
    levels = (batch.coarse + 1) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3), "the teacher sees what would be decoded"
    restored, features = restore(lessons.teaching.parts["teacher"], batch.coarse)
    assert (batch.taught - restored.clamp(-1, 1)).abs().mean() < 0.01, "but for half precision"
    assert batch.features.shape == (4, 3, SMALL.conditions["pixel_channels"], 16, 16)
    assert (batch.features - torch.stack(features)).abs().mean() < 0.02
    assert batch.quality.unique().numel() == 3
    examined = lessons.examine([torch.rand(1, 3, 128, 64) * 2 - 1 for _ in range(2)])
    assert examined.x.shape == (2, 3, 64, 64) and (examined.quality == 150).all()


def test_without_a_teacher_the_stage_says_what_is_missing(run, tmp_path):
    (run / TEACHER_FILE).unlink()
    with pytest.raises(WeightsError, match=r"There is no teacher: .*; train the teacher stage"):
        ImitationStage(ImitationSettings(), SMALL, run, None, StageOptions())
    save_taught(tmp_path / "one", count=1)
    with pytest.raises(SettingsError, match=r"At least 2 taught pictures are needed; .*one holds 1"):
        ImitationStage(ImitationSettings(), SMALL, tmp_path, None, StageOptions(taught=tmp_path / "one"))


@pytest.mark.parametrize(
    "settings, named",
    [
        (ImitationSettings(crop=64, max_zoom=2.0, sources={"streets": 2}), "max_zoom, sources"),
        (ImitationSettings(crop=64, graphics=0.0), "graphics"),
        (DiffusionSettings(crop=64, tint=0.1), "tint"),
        (DiffusionSettings(crop=64, qualities=QualityRange(core=(10, 20))), "qualities"),
    ],
)
def test_with_pictures_that_are_made_a_setting_of_others_is_an_error(settings, named, run, tmp_path):
    save_taught(tmp_path / "taught")
    with pytest.raises(SettingsError, match=f"made already: {named} would have no effect"):
        Lessons(run, tmp_path / "taught", settings)
    assert Lessons(run, None, settings).source is None, "they are made of crops then"


def test_taught_pictures_that_nobody_would_look_at_are_refused(run, tmp_path):
    save_taught(tmp_path / "taught")
    settings = DiffusionSettings(crop=64, teacher=False)
    with pytest.raises(SettingsError, match="teacher=false no taught pictures are looked at"):
        DiffusionStage(settings, SMALL, run, None, StageOptions(taught=tmp_path / "taught"))
    assert [name for name, stage in STAGES.items() if stage.follows_teacher] == ["imitation", "diffusion"]
