"""Every stage takes steps and saves what the next one needs; a run keeps to its schedule."""

from __future__ import annotations

import itertools
import json

import pytest
import torch
import typer
from conftest import make_photo
from runs import AT_ONCE, make, train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import SMALL
from typer.testing import CliRunner

from sprdiff.checkpoint.parts import load_part
from sprdiff.errors import SettingsError
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.training import export, loop
from sprdiff.training.__main__ import main, unpack
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.settings import Settings
from sprdiff.training.stage import learning_rate_factor
from sprdiff.training.stages import STAGES

pytest_plugins = ["runs"]
pytestmark = pytest.mark.usefixtures("small_teachers")


def test_all_stages_in_order_make_a_checkpoint(photos, tmp_path, monkeypatch):
    run = tmp_path / "run"
    for name in STAGES:
        changes = AT_ONCE if hasattr(STAGES[name], "start_adversary") else {}
        if name == "diffusion":
            changes = {**changes, "start_timesteps": [640, 160]}
        stage = make(name, photos, run, changes)
        before = [p.detach().clone() for p in stage.objective.parameters() if p.requires_grad]
        train(stage, photos, run)
        after = [p for p in stage.objective.parameters() if p.requires_grad]
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), name
        rows = [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
        numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
        assert numbers and all(value == value for value in numbers), "a validation is not a number"
    monkeypatch.setitem(export.PRESETS, "tiny", SMALL)
    checkpoint = tmp_path / "checkpoint"
    export.main(run, checkpoint)
    assert {path.stem for path in (checkpoint / "training").iterdir()} == set(STAGES)
    pipeline = SPRDiffPipeline.from_pretrained(checkpoint)
    assert pipeline.decoding_settings.start_timesteps == (640, 160), "decoded unlike it was trained"
    photo = make_photo()
    decoded = pipeline.decompress(pipeline.compress(photo, quality=128))
    assert decoded.final.size == photo.size
    assert not [path for path in checkpoint.rglob("*.json") if str(run) in path.read_text()]
    weights = list(checkpoint.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) < 1e6


def test_a_checkpoint_is_trained_further(photos, begun, tmp_path, monkeypatch):
    for name, part in (("codec", "fusion"), ("imitation", "conditions"), ("diffusion", "unet")):
        before = load_part(part, begun).state_dict()
        stage = make(name, photos, begun)
        state = stage.objective.trained[part].state_dict()
        assert all(torch.equal(value, before[key]) for key, value in state.items())
        train(stage, photos, begun)
        unpack(tmp_path / "checkpoint", begun)
        after = load_part(part, begun).state_dict()
        changed = [key for key in before if not torch.equal(after[key], before[key])]
        assert changed, f"{name}: what the run has must stay"


def test_validation_and_saving_follow_the_steps(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path, {"steps": 5})
    saved = []
    monkeypatch.setattr(stage, "save", lambda folder: saved.append(training.clock.step))
    training = Training(stage, photos, tmp_path, Schedule(validate_every=2, save_every=4))
    training.run()
    rows = [json.loads(line) for line in (tmp_path / "vae.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4, 5] and saved == [4, 5]
    state = tmp_path / "state" / "vae"
    assert state.is_dir() and not state.with_name("vae.tmp").exists()


def test_what_is_due_after_a_step(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path, {"steps": 12})
    training = Training(stage, photos, tmp_path, Schedule(validate_every=2, save_every=3))
    done = []
    for name in ("validate", "save"):
        monkeypatch.setattr(training, name, lambda name=name: done.append((training.clock.step, name)))
    for step in range(1, 7):
        training.clock.step = step
        training.after_step()
    assert done == [(2, "validate"), (3, "save"), (4, "validate"), (6, "validate"), (6, "save")]


def test_a_run_is_over_after_its_steps_or_its_minutes(photos, tmp_path):
    stage = make("vae", photos, tmp_path, {"steps": 12})
    training = Training(stage, photos, tmp_path, Schedule(minutes=3))
    training.clock.step, training.clock.minutes = 11, 2.9
    assert not training.finished
    training.clock.minutes = 3.0
    assert training.finished
    training.clock.step, training.clock.minutes = 12, 0.0
    assert training.finished


def test_batches_go_on_from_the_step_of_the_run(photos, tmp_path):
    training = Training(
        make("vae", photos, tmp_path, {"steps": 12, "accumulate": 2}), photos, tmp_path, Schedule()
    )
    first = list(itertools.islice(training.batches(), 4))
    assert [len(batch) for batch in first] == [2] * 4, "a step's batch of four in two passes"
    training.clock.step = 1
    again = list(itertools.islice(training.batches(), 2))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again, first[2:], strict=True))
    assert not torch.equal(first[0], first[2])


def test_a_tracker_gets_losses_figures_and_pictures(photos, begun, monkeypatch):
    stage = make("diffusion", photos, begun, {"steps": 4})
    train(stage, photos, begun, validate_every=2, tracker="tensorboard", log_every=1)
    events = EventAccumulator(str(begun / "logs" / "diffusion"), size_guidance={"images": 0})
    events.Reload()
    scalars, images = (events.Tags()[kind] for kind in ("scalars", "images"))
    assert {"loss", "l1", "norm", "learning_rate", "held out, quality 150/lpips_vgg_final"} <= set(scalars)
    assert [point.step for point in events.Scalars("loss")] == [1, 2, 3, 4]
    rows = [json.loads(line) for line in (begun / "diffusion.jsonl").read_text().splitlines()]
    expected = [row["psnr_final"] for row in rows if row["quality"] == 150]
    measured = [point.value for point in events.Scalars("held out, quality 150/psnr_final")]
    assert measured == pytest.approx(expected) and len(measured) == 2
    assert {name.partition("/")[0] for name in images} == {"original", "coarse", "final"}
    first = events.Images(next(name for name in images if name.startswith("final")))
    assert [image.step for image in first] == [2, 4] and first[0].width == first[0].height == 64


def test_a_run_stops_at_its_ceiling_and_goes_on_under_a_higher_one(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path, {"steps": 1000})
    stopped = train(stage, photos, tmp_path, minutes=1e-9)
    assert stopped.clock.step == 1 and stopped.state.exists()
    again = make("vae", photos, tmp_path, {"steps": 1000})
    more = train(again, photos, tmp_path, minutes=stopped.clock.minutes + 1e-9, resume=True)
    assert more.clock.step == 2
    finished = train(make("vae", photos, tmp_path), photos, tmp_path, resume=True)
    assert finished.clock.step == 2, "nothing is left to do"


def test_processes_must_share_a_batch_equally(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path)
    monkeypatch.setattr(loop.Accelerator, "num_processes", 3)
    with pytest.raises(SettingsError, match="3 processes cannot share a batch of 4 crops equally in 1 pass"):
        Training(stage, photos, tmp_path, Schedule())


def test_the_learning_rate_keeps_its_peak_and_falls():
    settings = Settings(decay_from=0.6, decay_to=0.05)
    factors = [learning_rate_factor(progress, settings) for progress in (0, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0)]
    assert factors[:3] == [1, 1, 1] and factors[-1] == pytest.approx(0.05)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[2:]))


@pytest.mark.parametrize(
    "stage, option, value",
    [
        ("vae", "--without", "f_sem"),
        ("diffusion", "--without", "f_sem"),
        ("codec", "--only", "vae"),
    ],
)
def test_a_part_that_a_stage_does_not_have_is_named(stage, option, value, photos, tmp_path):
    app = typer.Typer()
    app.command()(main)
    command = [stage, "--data", str(photos), "--out", str(tmp_path / "run"), option, value]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and value in result.output
    assert not (tmp_path / "run").exists()


def test_taught_pictures_are_for_stages_that_follow_a_teacher(photos, tmp_path):
    app = typer.Typer()
    app.command()(main)
    command = ["codec", "--data", str(photos), "--out", str(tmp_path / "run"), "--taught", str(photos)]
    result = CliRunner().invoke(app, command)
    said = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code == 2 and "The codec stage follows no teacher; leave out --taught." in said
    assert not (tmp_path / "run").exists()
