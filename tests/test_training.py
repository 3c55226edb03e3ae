"""Every stage takes steps, saves what the next one needs, survives a kill, and ends in a checkpoint."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import teachers
import torch
import typer
from accelerate import Accelerator
from conftest import make_photo
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import SMALL, small_pipeline
from torch import nn
from typer.testing import CliRunner

from sprdiff.errors import SettingsError, WeightsError
from sprdiff.images import to_image
from sprdiff.metrics import psnr
from sprdiff.parts import build_part, load_part, save_part
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.reconstruction.conditions import Conditions
from sprdiff.training import average, deepen, diffusion_stage, export, loop, shift
from sprdiff.training.__main__ import main, unpack
from sprdiff.training.data import Crops, list_images, split
from sprdiff.training.frozen import CodecPreview, Frozen
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.qualities import QualityRange
from sprdiff.training.restoration import AdversarySettings
from sprdiff.training.settings import read_settings
from sprdiff.training.stage import Stage, StageOptions, learning_rate_factor
from sprdiff.training.stages import STAGES
from sprdiff.training.transform_stages import psnr_db

# The adversary counts from the first step.
AT_ONCE = {"adversary.starts": -1.0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    return teachers.save_photographs(folder, 6, 200, 196)


@pytest.fixture(autouse=True)
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
    options = StageOptions(taught=photos / "taught", backbones=photos, **options)
    return STAGES[name](settings, SMALL, run, crops, options)


def train(stage: Stage, photos: Path, run: Path, **schedule) -> Training:
    training = Training(stage, photos, run, Schedule(**schedule))
    training.run()
    return training


def test_all_stages_in_order_make_a_checkpoint(photos, tmp_path, monkeypatch):
    run = tmp_path / "run"
    for name in STAGES:
        stage = make(name, photos, run, AT_ONCE if hasattr(STAGES[name], "start_adversary") else None)
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


def test_a_shifted_range_codes_alike_at_other_qualities(photos, tmp_path, monkeypatch):
    torch.manual_seed(0)
    pipeline = small_pipeline()
    for anchors in (pipeline.latent_codec.log_gain, pipeline.latent_codec.log_inverse_gain):
        last = len(anchors.anchors) - 1
        anchors.set(torch.linspace(0, 1, last + 1)[:, None].expand_as(anchors.anchors))
    pipeline.save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    shift.main(tmp_path / "run", low=51.0, high=306.0)
    before, after = pipeline.latent_codec, load_part("latent_codec", tmp_path / "run")
    for quality in (0, 102, 204):
        meant = before.log_gain(torch.tensor([quality + 51.0]))
        assert torch.allclose(after.log_gain(torch.tensor([float(quality)])), meant, atol=1e-5)
    with pytest.raises(typer.BadParameter, match="got 100 to 90"):
        shift.main(tmp_path / "run", low=100.0, high=90.0)


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
    assert stopped.clock.step == 1 and stopped.state.is_dir()
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


def frozen_modules(module: nn.Module) -> list[Frozen]:
    return [each for each in module.modules() if isinstance(each, Frozen)]


@pytest.mark.parametrize("name", ["semantic", "codec", "teacher", "diffusion"])
def test_frozen_parts_stay_as_they_are(name, photos, begun, monkeypatch):
    stage = make(name, photos, begun, AT_ONCE if hasattr(STAGES[name], "start_adversary") else None)
    frozen = frozen_modules(stage.objective)
    assert frozen
    before = [{key: value.clone() for key, value in each.state_dict().items()} for each in frozen]
    train(stage, photos, begun)
    for each, state in zip(frozen, before, strict=True):
        # But for the precision in which a step takes them.
        assert all(torch.equal(value, state[key].to(value)) for key, value in each.state_dict().items())


def test_frozen_modules_never_train_and_move_with_the_whole():
    whole = nn.Sequential(nn.Conv2d(3, 3, 1), Frozen({"norm": nn.Sequential(nn.BatchNorm2d(3))}))
    whole.train()
    assert whole[0].training and whole[0].weight.requires_grad
    assert not any(module.training for module in whole[1].modules())
    assert not any(parameter.requires_grad for parameter in whole[1].parameters())
    whole.to(torch.float64)
    assert {p.dtype for p in whole[1].parameters()} == {torch.float64}
    assert whole[1]["norm"][0].running_mean.dtype == torch.float64


def in_containers(value: object) -> Iterator[nn.Module]:
    """Modules in plain lists, tuples and dicts, however deep."""
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from in_containers(each)
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            yield from in_containers(each)


@pytest.mark.parametrize("name", STAGES)
def test_nothing_of_an_objective_stays_behind_when_it_moves(name, photos, begun, monkeypatch):
    stage = make(name, photos, begun)
    objective = stage.objective
    registered = set(objective.modules())
    for owner in (stage, *registered):
        for attribute, value in vars(owner).items():
            hidden = set(in_containers(value)) - registered
            assert not hidden, f"{type(owner).__name__}.{attribute} hides modules from .to()"
    objective.to("meta")
    assert {tensor.device.type for tensor in (*objective.parameters(), *objective.buffers())} == {"meta"}


def test_one_part_of_a_stage_is_trained_alone(photos, begun, monkeypatch):
    before = {name: load_part(name, begun).state_dict() for name in ("fusion", "latent_codec", "coarse")}
    stage = make("codec", photos, begun, only=frozenset({"fusion"}))
    train(stage, photos, begun)
    for name, state in before.items():
        after = load_part(name, begun).state_dict()
        changed = [key for key in state if not torch.equal(after[key], state[key])]
        assert bool(changed) == (name == "fusion"), name


def test_a_preview_is_what_the_codec_decodes(begun):
    pipeline = SPRDiffPipeline.from_pretrained(begun.parent / "checkpoint")
    preview = CodecPreview.load(begun)
    photo = make_photo(128, 128)
    x = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
    for quality in (60, 200):
        coarse = pipeline.decompress(pipeline.compress(photo, quality=quality), coarse_only=True).coarse
        previewed = to_image(preview(x, torch.tensor([float(quality)])) / 2 + 0.5)
        assert psnr(coarse, previewed) > 40
        linear = to_image(preview(x, torch.tensor([float(quality)]), linear=True) / 2 + 0.5)
        assert psnr(coarse, linear) < 35, "the linear path alone must not be the whole"


def test_a_run_without_fusion_previews_the_plain_codec(begun):
    for name in ("latent_codec", "coarse"):
        (begun / "distortion").mkdir(exist_ok=True)
        (begun / name).rename(begun / "distortion" / name)
    (begun / "fusion").rename(begun / "elsewhere")
    preview = CodecPreview.load(begun)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(preview.analyze(x), load_part("distortion_encoder", begun)(x))
    assert preview(x, torch.tensor([100.0])).shape == x.shape


def test_the_lagrangian_rises_with_quality():
    qualities = QualityRange()
    values = qualities.lmbda(torch.linspace(0, 255, 9))
    assert (values.diff() > 0).all()
    steps = qualities.step_sizes(6)
    assert (steps.diff() < 0).all()
    # Price times squared step is constant: the rule of high-resolution quantization.
    ends = qualities.lmbda(torch.tensor([0.0, 255.0])) * (steps[[0, -1]] * 127.5) ** 2
    assert ends[0].item() == pytest.approx(ends[1].item(), rel=1e-4)


def test_psnr_of_known_error():
    x = torch.zeros(1, 3, 8, 8)
    assert psnr_db(x, x + 10 / 127.5) == pytest.approx(
        20 * torch.log10(torch.tensor(255 / 10)).item(), abs=1e-3
    )


@pytest.mark.parametrize("without", ["f_sem", "f_dist"])
def test_an_encoder_left_out_has_no_influence(without, photos, begun, monkeypatch):
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    encoder = {"f_sem": "semantic_encoder", "f_dist": "distortion_encoder"}[without]
    for names in ({without}, set()):
        objective = make("codec", photos, begun, without=frozenset(names)).objective
        before = objective.analysis(x)
        for parameter in objective.frozen[encoder].parameters():
            parameter.data.add_(0.1)
        assert torch.equal(objective.analysis(x), before) == bool(names)


@pytest.fixture
def seen(monkeypatch) -> list[Conditions]:
    """The conditions of every call of the denoiser in training, in order."""
    calls, denoise = [], diffusion_stage.denoise

    def see(unet, scheduler, latents_hat, noise, quality, conditions):
        calls.append(conditions)
        return denoise(unet, scheduler, latents_hat, noise, quality, conditions)

    monkeypatch.setattr(diffusion_stage, "denoise", see)
    return calls


X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
QUALITY = torch.tensor([60.0, 180.0])


@pytest.mark.parametrize("without", ["semantic_tokens", "pixel_features", "coarse"])
def test_the_diffusion_stage_trains_without_each_condition(without, photos, begun, seen, monkeypatch):
    objective = make("diffusion", photos, begun, without=frozenset({without})).objective
    for mode in (True, False):
        objective.train(mode)
        torch.manual_seed(0)
        objective.generate(objective.prepare(X, QUALITY))
        tokens, semantic_map, pixel_features = seen.pop()
        assert tokens.any() == semantic_map.any() == (without != "semantic_tokens")
        assert pixel_features.any() == (without != "pixel_features")
    coarse = objective.codec.parts["coarse"]
    monkeypatch.setattr(coarse.trunk, "forward", lambda x: x * float("nan"))
    broken = bool(objective.prepare(X, QUALITY).x_coarse.isnan().any())
    assert broken == (without != "coarse"), "without the coarse module its networks must not matter"


def test_conditions_are_dropped_in_training_alone(photos, begun, seen, monkeypatch):
    objective = make("diffusion", photos, begun, {"dropped": 1.0}).objective
    batch = objective.prepare(X, QUALITY)
    objective.train().generate(batch)
    assert not any(value.any() for value in seen.pop())
    objective.eval().generate(batch)
    expected = objective.trained["conditions"](batch.x_coarse, batch.tokens)
    assert all(torch.equal(value, whole) for value, whole in zip(seen.pop(), expected, strict=True))


def test_without_a_teacher_the_original_is_the_target(photos, begun, monkeypatch):
    (begun / "state/teacher.safetensors").unlink(missing_ok=True)
    stage = make("diffusion", photos, begun, {"teacher": False})
    stage.objective.train()
    crops = Crops(list_images(photos), 64, 1.0).batch(2)
    batch = stage.before_step(Accelerator(cpu=True), crops)
    assert torch.equal(batch.target, crops) and batch.features is None
    levels = batch.x_coarse * 127.5 + 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-3), "a decoder hands on 8 bits"
    losses = stage.objective(batch, 0.0)
    assert "imitation" not in losses
    losses["loss"].backward()
    assert any(
        p.grad is not None and p.grad.any() for p in stage.objective.trained["conditions"].parameters()
    )


def test_without_a_share_the_adversary_changes_no_gradient(photos, begun, monkeypatch):
    stage = make("diffusion", photos, begun)
    objective, taught = stage.objective.train(), stage.lessons.source.batch(2)

    def gradients(progress: float) -> list[torch.Tensor]:
        torch.manual_seed(0)
        objective.criterion.course.turn = 0
        objective.zero_grad()
        batch = objective.prepare(taught.x, taught.quality, taught)
        losses = objective(batch, progress)
        assert ("adversarial" in losses) == (batch.fake is not None) == (progress > 0)
        losses["loss"].backward()
        assert all(parameter.grad is None for parameter in stage.heads)
        return [p.grad.clone() for p in objective.trained.parameters() if p.grad is not None]

    alone, with_adversary = gradients(0.0), gradients(0.4)
    assert not all(torch.allclose(a, b) for a, b in zip(alone, with_adversary, strict=True))
    silent = AdversarySettings(share=0.0)
    objective.criterion.settings = stage.settings.model_copy(update={"adversary": silent})
    assert all(torch.equal(a, b) for a, b in zip(alone, gradients(0.4), strict=True))


def test_the_adversary_goes_on_with_the_run(photos, begun, monkeypatch):
    first = make("diffusion", photos, begun)
    assert first.objective.criterion.course.adversary_starts > 0
    untrained = [head.detach().clone() for head in first.heads]
    monkeypatch.setattr(first.objective.criterion.course, "adversary_starts", 0.0)
    train(first, photos, begun)
    assert not any(torch.equal(head, before) for head, before in zip(first.heads, untrained, strict=True))
    assert (begun / "state" / "adversary.safetensors").is_file()
    second = make("diffusion", photos, begun)
    assert second.objective.criterion.course.adversary_starts == 0
    state, again = (each.objective.criterion.adversary.state_dict() for each in (first, second))
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_the_learning_rate_keeps_its_peak_and_falls():
    factors = [learning_rate_factor(progress, 0.6) for progress in (0, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0)]
    assert factors[:3] == [1, 1, 1] and factors[-1] == pytest.approx(0.02)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[2:]))


@pytest.mark.parametrize(
    "stage, option, value",
    [("vae", "--without", "f_sem"), ("diffusion", "--without", "f_sem"), ("codec", "--only", "vae")],
)
def test_a_part_that_a_stage_does_not_have_is_named(stage, option, value, photos, tmp_path):
    app = typer.Typer()
    app.command()(main)
    command = [stage, "--data", str(photos), "--out", str(tmp_path / "run"), option, value]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and value in result.output
    assert not (tmp_path / "run").exists()


def test_a_deeper_pixel_branch_forgets_nothing(begun):
    before = load_part("conditions", begun)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    deepen.main(begun, before.config.depth + 2)
    after = load_part("conditions", begun)
    assert [len(stage) for stage in after.pixel] == [before.config.depth + 2] * before.config.pixel_stages
    for made, given in zip(after.pixel_features(x), before.pixel_features(x), strict=True):
        assert torch.allclose(made, given, atol=0.05)
    with pytest.raises(typer.BadParameter, match=r"have \d+ blocks already, got 1"):
        deepen.main(begun, 1)


def test_a_denoiser_between_two(begun, tmp_path):
    other = begun.with_name("other")
    shutil.copytree(begun, other)
    for name in ("unet", "conditions"):
        part = load_part(name, other)
        part.load_state_dict({key: value + 1 for key, value in part.state_dict().items()})
        save_part(part, other / name)
    before = load_part("unet", begun).state_dict()
    average.main(begun, other, 0.25)
    after = load_part("unet", begun).state_dict()
    assert all(torch.allclose(after[key], before[key] + 0.25, atol=1e-5) for key in before)
    deepen.main(other, 9)
    with pytest.raises(WeightsError, match="conditions is of other sizes"):
        average.main(begun, other, 0.5)
    assert all(torch.equal(load_part("unet", begun).state_dict()[key], after[key]) for key in after)
