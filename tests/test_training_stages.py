"""What stages train and what they leave alone: frozen parts, ablations, conditions, the adversary."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from conftest import make_photo
from runs import AT_ONCE, make, train
from torch import nn

from sprdiff.checkpoint.parts import load_part
from sprdiff.diffusion.denoiser import denoise
from sprdiff.errors import SettingsError
from sprdiff.images import to_image
from sprdiff.metrics import psnr
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.reconstruction.conditions import Conditions
from sprdiff.training import diffusion_stage
from sprdiff.training.data import Crops, list_images
from sprdiff.training.frozen import CodecPreview, Frozen
from sprdiff.training.restoration import AdversarySettings
from sprdiff.training.stages import STAGES

pytest_plugins = ["runs"]
pytestmark = pytest.mark.usefixtures("small_teachers")


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
            parts = (part for each in in_containers(value) for part in each.modules())
            with_tensors = {part for part in parts if part._parameters or part._buffers}
            hidden = with_tensors - registered
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


def test_biases_are_trained_alone(photos, begun, monkeypatch):
    before = {name: load_part(name, begun).state_dict() for name in ("unet", "conditions")}
    train(make("diffusion", photos, begun, AT_ONCE | {"biases_only": True}), photos, begun)
    changed = set()
    for name, state in before.items():
        after = load_part(name, begun).state_dict()
        changed |= {(name, key) for key in state if not torch.equal(after[key], state[key])}
    assert {name for name, _ in changed} == set(before)
    kernels = {key for name, key in changed if before[name][key].ndim > 1}
    assert kernels == {"conv_out.weight"}
    with pytest.raises(SettingsError, match="biases_only and lora_rank"):
        make("diffusion", photos, begun, {"biases_only": True, "lora_rank": 2})


def test_latents_are_noised_to_the_timesteps_that_are_set(photos, begun, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "sprdiff.training.diffusion_stage.denoise",
        lambda *arguments: asked.append(arguments[-1]) or denoise(*arguments),
    )
    train(make("diffusion", photos, begun, AT_ONCE | {"start_timesteps": [640, 160]}), photos, begun)
    assert set(asked) == {(640, 160)}
    with pytest.raises(SettingsError, match="start_timesteps: 1000 is too late, the scheduler has 1000"):
        make("diffusion", photos, begun, {"start_timesteps": [1000, 160]})


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


X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
QUALITY = torch.tensor([60.0, 180.0])


@pytest.fixture
def seen(monkeypatch) -> list[Conditions]:
    """The conditions of every call of the denoiser in training, in order."""
    calls, denoise = [], diffusion_stage.denoise

    def see(unet, scheduler, latents_hat, noise, quality, conditions, start_timesteps):
        calls.append(conditions)
        return denoise(unet, scheduler, latents_hat, noise, quality, conditions, start_timesteps)

    monkeypatch.setattr(diffusion_stage, "denoise", see)
    return calls


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
    stage = make("diffusion", photos, begun, {"teacher": False}, taught=None)
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
