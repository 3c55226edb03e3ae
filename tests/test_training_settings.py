"""What decides a run comes from defaults, a file and the command line, is checked, and stays with the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import teachers
import typer
import yaml
from tiny import SMALL
from typer.testing import CliRunner

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.training import __main__ as command
from sprdiff.training.data import Crops, list_images
from sprdiff.training.diffusion_stage import DiffusionSettings
from sprdiff.training.settings import Settings, parse_change, read_settings
from sprdiff.training.stages import STAGES
from sprdiff.training.teacher_stage import TeacherSettings

REPOSITORY = Path(__file__).resolve().parent.parent


def write(folder: Path, text: str) -> Path:
    (folder / "settings.yaml").write_text(text)
    return folder / "settings.yaml"


def test_changes_come_after_the_file_and_the_file_after_the_defaults(tmp_path):
    file = write(tmp_path, "learning_rate: 0.001\nweights: {l1: 0.5, grid: 7}\nsteps: 30\n")
    settings = read_settings(DiffusionSettings, file, {"weights.grid": 9, "adversary.share": 0.6})
    default = DiffusionSettings()
    assert settings.learning_rate == 0.001 and settings.steps == 30
    assert settings.weights == default.weights.model_copy(update={"l1": 0.5, "grid": 9})
    assert settings.adversary == default.adversary.model_copy(update={"share": 0.6})


@pytest.mark.parametrize("name", STAGES)
def test_what_a_run_keeps_is_read_back(name, tmp_path):
    settings = STAGES[name].settings_type(seed=7, sources={"streets": 0.5})
    settings.write(tmp_path / "settings.yaml")
    assert read_settings(STAGES[name].settings_type, tmp_path / "settings.yaml") == settings
    plain = json.dumps(yaml.safe_load((tmp_path / "settings.yaml").read_text()))
    assert read_settings(STAGES[name].settings_type, write(tmp_path, plain)) == settings, "JSON is YAML"


@pytest.mark.parametrize(
    "text, message",
    [
        ("step: 3", r"^step is no setting here; there are steps, batch_size, "),
        ("weights: {l2: 1}", r"^weights\.l2 is no setting"),
        ("crop: 100", r"^The setting crop cannot be 100: .*multiple of 64"),
        ("learning_rate: .nan", r"^The setting learning_rate cannot be nan"),
        ("steps: many", r"^The setting steps cannot be 'many': .*integer"),
        ("mixed_precision: fp16", r"^The setting mixed_precision cannot be 'fp16': .*'bf16' or 'no'"),
        (
            "qualities: {core: [65, 300]}",
            r"^The setting qualities\.core\.1 cannot be 300: .*less than or equal",
        ),
        ("[1, 2]", r"holds no settings: not a mapping"),
        ("a: [", r"cannot be read: "),
        ("steps: 0\ncrop: 1", r"steps cannot be 0.*\n.*crop cannot be 1"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_its_limit(text, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        read_settings(DiffusionSettings, write(tmp_path, text))


def test_a_change_has_a_name_and_a_value():
    assert parse_change("weights.l1=5e-1") == ("weights.l1", "5e-1")
    assert read_settings(DiffusionSettings, changes=dict([parse_change("weights.l1=5e-1")])).weights.l1 == 0.5
    assert parse_change("sources={streets: 2}") == ("sources", {"streets": 2})
    for wrong in ("steps", "=3"):
        with pytest.raises(SettingsError, match="NAME=VALUE"):
            parse_change(wrong)
    with pytest.raises(SettingsError, match=r"setting steps cannot be \{'more': 1\}: .*integer"):
        read_settings(DiffusionSettings, changes={"steps": 4, "steps.more": 1})


def test_of_a_group_that_is_named_in_part_the_rest_is_the_stages_own(tmp_path):
    """Not what the group's class has: the teacher's weights are others than the denoiser's."""
    own = TeacherSettings()
    assert own.weights != DiffusionSettings().weights and own.adversary != DiffusionSettings().adversary
    expected = own.weights.model_copy(update={"l1": 0.5})
    assert read_settings(TeacherSettings, changes={"weights.l1": 0.5}).weights == expected
    settings = read_settings(TeacherSettings, write(tmp_path, "adversary: {starts: 0.1}\nweights: {l1: 0.5}"))
    assert settings.weights == expected
    assert settings.adversary == own.adversary.model_copy(update={"starts": 0.1})


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Settings().steps = 3


def test_the_command_takes_settings_and_the_run_keeps_them(tmp_path, monkeypatch):
    (tmp_path / "photos" / "streets").mkdir(parents=True)
    photos = teachers.save_photographs(tmp_path / "photos", 3, 80, 72)
    for seed in (1, 2):
        os.replace(photos / f"{seed}.png", photos / "streets" / f"{seed}.png")
    monkeypatch.setitem(command.PRESETS, "tiny", SMALL)
    app = typer.Typer()
    app.command()(command.main)
    run = tmp_path / "run"
    file = write(tmp_path, "batch_size: 2\nsteps: 9\n")
    arguments = [
        "vae",
        "--data",
        str(photos),
        "--out",
        str(run),
        "--settings",
        str(file),
        "--tracker",
        "none",
    ]
    changes = ["--steps", "2", "--set", "crop=64", "--set", "sources={streets: 1}", "--set", "accumulate=2"]
    result = CliRunner().invoke(app, [*arguments, *changes])
    assert result.exit_code == 0, result.output
    kept = yaml.safe_load((run / "vae.yaml").read_text())
    assert (kept["steps"], kept["batch_size"], kept["crop"], kept["accumulate"]) == (2, 2, 64, 2)
    rows = [json.loads(line) for line in (run / "vae.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 2


def test_sources_say_how_often_pictures_are_wanted(tmp_path):
    photos = teachers.save_photographs(tmp_path, 4, 72, 72)
    for name, seeds in (("streets", (0, 1)), ("woods", (2,))):
        (photos / name).mkdir()
        for seed in seeds:
            os.replace(photos / f"{seed}.png", photos / name / f"{seed}.png")
    paths = list_images(photos)
    chances = {}
    for sources in ({}, {"streets": 2, "woods": 0}):
        crops = Crops(paths, 64, 1.0, sources=sources)
        steps = [crops.weights[0], *(b - a for a, b in zip(crops.weights, crops.weights[1:], strict=False))]
        chances[len(sources)] = {
            path.name: step for path, step in zip(crops.images.paths, steps, strict=True)
        }
    assert chances[0] == pytest.approx({f"{i}.png": 0.25 for i in range(4)})
    assert chances[2] == pytest.approx({"0.png": 0.4, "1.png": 0.4, "2.png": 0.0, "3.png": 0.2})
    with pytest.raises(SettingsError, match="sources names beaches, but no picture lies"):
        Crops(paths, 64, 1.0, sources={"beaches": 1})
    with pytest.raises(SettingsError, match="sources leaves no picture"):
        Crops(paths[1:], 64, 1.0, sources={"streets": 0, "woods": 0})
    with pytest.raises(InputImageError):
        Crops(paths, 128, 1.0)


def test_a_setting_that_is_none_ends_the_command_in_words(tmp_path):
    photos = teachers.save_photographs(tmp_path, 2, 72, 72)
    run = tmp_path / "run"
    command = ["-m", "sprdiff.training", "vae", "--data", str(photos), "--out", str(run), "--set", "step=3"]
    done = subprocess.run(
        [sys.executable, *command], cwd=REPOSITORY, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: step is no setting here; there are steps, ")
    assert not run.exists()
