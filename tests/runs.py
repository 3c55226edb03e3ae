"""Runs of small stages for the tests of the training, and fixtures: ``pytest_plugins = ["runs"]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import teachers
from tiny import SMALL, small_pipeline

from sprdiff.training.__main__ import unpack
from sprdiff.training.data import Crops, list_images, split
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.settings import read_settings
from sprdiff.training.stage import Stage, StageOptions
from sprdiff.training.stages import STAGES

# The adversary counts from the first step.
AT_ONCE = {"adversary.starts": -1.0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return teachers.save_photographs(folder, 6, 200, 196)


@pytest.fixture
def small_teachers(monkeypatch) -> None:
    teachers.install(monkeypatch)


@pytest.fixture
def begun(tmp_path) -> Path:
    """A run that holds every part of a small checkpoint."""
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    return tmp_path / "run"


def make(name: str, photos: Path, run: Path, changes: dict[str, Any] | None = None, **options) -> Stage:
    """A stage of the small configuration with crops that the photographs hold."""
    small = {"steps": 2, "batch_size": 4, "crop": 64}
    settings = read_settings(STAGES[name].settings_type, changes=small | (changes or {}))
    crops = Crops(split(list_images(photos))[0], settings.crop, 1.2, 0)
    options = StageOptions(**{"taught": photos / "taught", "backbones": photos} | options)
    return STAGES[name](settings, SMALL, run, crops, options)


def train(stage: Stage, photos: Path, run: Path, **schedule) -> Training:
    training = Training(stage, photos, run, Schedule(**schedule))
    training.run()
    return training
