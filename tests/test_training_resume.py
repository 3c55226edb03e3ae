"""A run that was stopped or killed goes on as if it had not been interrupted, and its files are whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from runs import make, train
from tiny import SMALL

from sprdiff.checkpoint.parts import build_part, load_part, save_part
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.stages import STAGES

pytest_plugins = ["runs"]
pytestmark = pytest.mark.usefixtures("small_teachers")


def losses_of(training: Training) -> list[float]:
    """What ``training`` will have lost at every step, filled while it runs."""
    losses, step = [], training.step

    def remembering(crops):
        values = step(crops)
        losses.append(float(values["loss"]))
        return values

    training.step = remembering
    return losses


@pytest.mark.parametrize("name", STAGES)
def test_a_run_that_is_stopped_ends_like_one_that_is_not(name, photos, begun, monkeypatch):
    changes = {"steps": 6}
    if hasattr(STAGES[name], "start_adversary"):
        changes["adversary.starts"] = 0.2
    broken = begun.with_name("broken")
    shutil.copytree(begun, broken)

    def start(run: Path, **schedule) -> tuple[Training, list[float]]:
        torch.manual_seed(0)
        stage = make(name, photos, run, changes)
        training = Training(stage, photos, run, Schedule(validate_every=2, save_every=3, **schedule))
        return training, losses_of(training)

    whole, expected = start(begun)
    whole.run()
    first, losses = start(broken)
    monkeypatch.setattr(first, "validate", lambda: _raise() if first.clock.step == 4 else None)
    with pytest.raises(KeyboardInterrupt):  # as a kill would: what came after step 3 is lost
        first.run()
    second, rest = start(broken, resume=True, workers=2)
    assert second.clock.step == 3
    second.run()
    assert len(expected) == 6 and [*losses[:3], *rest] == expected and losses == expected[:4]
    for mine, theirs in zip(second.parameters, whole.parameters, strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(second.ema.shadow_params, whole.ema.shadow_params, strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(*(getattr(run.stage, "heads", ()) for run in (second, whole)), strict=True):
        assert torch.equal(mine, theirs), "the adversary"


def test_a_state_of_other_parts_is_refused(photos, tmp_path, monkeypatch):
    train(make("vae", photos, tmp_path), photos, tmp_path)
    other = make("vae", photos, tmp_path, {"steps": 4})
    other.objective.vae.decoder[0] = torch.nn.Conv2d(8, 16, 1)
    with pytest.raises((WeightsError, RuntimeError), match=r"other parts|size mismatch"):
        train(other, photos, tmp_path, resume=True)
    swapped = make("vae", photos, tmp_path, {"steps": 4})
    vae = swapped.objective.vae
    vae._modules = dict(reversed(vae._modules.items()))
    with pytest.raises(WeightsError, match="other parts"):
        train(swapped, photos, tmp_path, resume=True)


def test_a_saved_state_is_not_lost_for_a_forgotten_word(photos, tmp_path):
    train(make("vae", photos, tmp_path), photos, tmp_path)
    state, settings = tmp_path / "state" / "vae", tmp_path / "vae.yaml"
    before = [(file.name, file.read_bytes()) for file in (*sorted(state.iterdir()), settings)]
    again = make("vae", photos, tmp_path, {"steps": 1})
    with pytest.raises(SettingsError, match=r"vae holds a saved state: --resume .*, --restart"):
        train(again, photos, tmp_path)
    assert [(file.name, file.read_bytes()) for file in (*sorted(state.iterdir()), settings)] == before
    assert train(again, photos, tmp_path, resume=False).clock.step == 1


def test_a_kill_while_saving_leaves_the_last_state(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path)
    train(stage, photos, tmp_path)
    state = tmp_path / "state" / "vae"
    before = {file.name: file.read_bytes() for file in state.iterdir()}
    again = make("vae", photos, tmp_path, {"steps": 4})
    monkeypatch.setattr(again, "save", lambda folder: _raise())
    with pytest.raises(KeyboardInterrupt):
        train(again, photos, tmp_path, resume=True)
    assert {file.name: file.read_bytes() for file in state.iterdir()} == before


def test_a_kill_between_two_renames_leaves_the_last_state(photos, tmp_path, monkeypatch):
    train(make("vae", photos, tmp_path), photos, tmp_path)
    state = tmp_path / "state" / "vae"
    before = {file.name: file.read_bytes() for file in state.iterdir()}
    replace = os.replace

    def replace_once(source: Path, target: Path) -> None:
        if target == state:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", replace_once)
        train(make("vae", photos, tmp_path, {"steps": 4}), photos, tmp_path, resume=True)
    assert not state.exists()
    again = Training(make("vae", photos, tmp_path, {"steps": 4}), photos, tmp_path, Schedule(resume=True))
    assert again.clock.step == 2
    assert {file.name: file.read_bytes() for file in state.iterdir()} == before


def test_what_a_killed_save_left_is_in_no_later_ones_way(photos, tmp_path):
    train(make("vae", photos, tmp_path), photos, tmp_path)
    state = tmp_path / "state" / "vae"
    for suffix in (".old", ".tmp"):
        (state.with_name("vae" + suffix)).mkdir()
        (state.with_name("vae" + suffix) / "random_states_7.pkl").write_bytes(b"of a run of eight processes")
    again = train(make("vae", photos, tmp_path, {"steps": 4}), photos, tmp_path, resume=True)
    assert again.clock.step == 4 and again.saved == again.validated == 4
    assert [path.name for path in state.parent.iterdir()] == ["vae"]
    assert not (state / "random_states_7.pkl").exists()


def _raise() -> None:
    raise KeyboardInterrupt


def test_a_part_replaces_what_an_earlier_version_left(tmp_path):
    folder = tmp_path / "fusion"
    build_part("fusion", SMALL).save_pretrained(folder, max_shard_size="2KB")
    assert list(folder.glob("*.index.json"))
    part = build_part("fusion", SMALL)
    torch.nn.init.constant_(part.shortcut.weight, 0.5)
    save_part(part, folder)
    assert (load_part("fusion", tmp_path).shortcut.weight == 0.5).all()
    assert [path.name for path in tmp_path.iterdir()] == ["fusion"]
