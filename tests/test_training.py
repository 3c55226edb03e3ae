"""Every stage takes steps, saves what the next one needs, survives a kill, and ends in a checkpoint."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from conftest import make_photo
from tiny import SMALL, small_pipeline
from typer.testing import CliRunner

from sprdiff.errors import InputImageError, WeightsError
from sprdiff.parts import build_part, load_part, save_part
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.training import export, loop, shift
from sprdiff.training.__main__ import main, unpack
from sprdiff.training.data import Crops, list_images, split, validation_images
from sprdiff.training.diffusion_stage import REALISM_RANGE, realism
from sprdiff.training.discriminator import PatchDiscriminator, hinge_loss, luma_first
from sprdiff.training.graphics import draw_graphic
from sprdiff.training.loop import learning_rate_factor
from sprdiff.training.losses import flat_error, grid_error, patch_distribution_loss, structure_loss
from sprdiff.training.semantic_stage import sinkhorn
from sprdiff.training.stages import STAGES
from sprdiff.training.transform_stages import lmbda, psnr_db, step_sizes


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(6):
        make_photo(200, 196, seed).save(folder / f"{seed}.png")
    return folder


def make(name: str, photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch, *without: str):
    """A stage of the small configuration with crops that the photographs hold."""
    stage_class = STAGES[name]
    monkeypatch.setattr(stage_class, "batch_size", 4)
    monkeypatch.setattr(stage_class, "crop", 192 if name == "semantic" else 64)
    crops = Crops(split(list_images(photos))[0], stage_class.crop, 1.2, 0)
    return stage_class(SMALL, run, crops, **({"without": frozenset(without)} if without else {}))


def train(stage, photos: Path, run: Path, minutes: float, resume: bool = False) -> None:
    loop.run(stage, photos, run, minutes=minutes, resume=resume, seed=0, validate_every_minutes=1)


def test_all_stages_in_order_make_a_checkpoint(photos, tmp_path, monkeypatch):
    run = tmp_path / "run"
    monkeypatch.setattr("sprdiff.training.diffusion_stage.ADVERSARY_STARTS", -1.0)
    for name in STAGES:
        stage = make(name, photos, run, monkeypatch)
        before = [p.detach().clone() for p in stage.objective.parameters() if p.requires_grad]
        train(stage, photos, run, minutes=0.002)
        after = [p for p in stage.objective.parameters() if p.requires_grad]
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), name
        rows = [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]
        numbers = [value for row in rows for value in row.values() if isinstance(value, float)]
        assert numbers and all(value == value for value in numbers), "a validation is not a number"
    monkeypatch.setitem(export.PRESETS, "tiny", SMALL)
    checkpoint = tmp_path / "checkpoint"
    export.main(run, checkpoint)
    pipeline = SPRDiffPipeline.from_pretrained(checkpoint)
    photo = make_photo()
    decoded = pipeline.decompress(pipeline.compress(photo, quality=128))
    assert decoded.final.size == photo.size
    assert not [path for path in checkpoint.rglob("*.json") if str(run) in path.read_text()]
    weights = list(checkpoint.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in weights) < 1e6


def test_a_checkpoint_is_trained_further(photos, tmp_path, monkeypatch):
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    run = tmp_path / "run"
    unpack(tmp_path / "checkpoint", run)
    weights = load_part("fusion", run).shortcut.weight
    stage = make("codec", photos, run, monkeypatch)
    assert torch.equal(stage.trained["fusion"].shortcut.weight, weights)
    train(stage, photos, run, minutes=0.001)
    unpack(tmp_path / "checkpoint", run)
    assert not torch.equal(load_part("fusion", run).shortcut.weight, weights), "what the run has stays"
    train(make("diffusion", photos, run, monkeypatch), photos, run, minutes=0.001)
    assert (run / "diffusion" / "unet").is_dir()


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


def test_a_run_goes_on_where_it_was(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path, monkeypatch)
    train(stage, photos, tmp_path, minutes=0.003)
    state = tmp_path / "state" / "vae"
    assert state.is_dir() and not state.with_name("vae.tmp").exists()
    first = json.loads((tmp_path / "vae.jsonl").read_text().splitlines()[-1])
    again = make("vae", photos, tmp_path, monkeypatch)
    # A step on a busy machine can take longer than what was asked for, and the log rounds to 0.01.
    minutes = first["minutes"] + 0.008
    train(again, photos, tmp_path, minutes=minutes, resume=True)
    last = json.loads((tmp_path / "vae.jsonl").read_text().splitlines()[-1])
    assert last["step"] > first["step"] and last["minutes"] >= minutes - 0.005


def test_a_state_of_other_parts_is_refused(photos, tmp_path, monkeypatch):
    train(make("vae", photos, tmp_path, monkeypatch), photos, tmp_path, minutes=0.001)
    other = make("vae", photos, tmp_path, monkeypatch)
    other.objective.vae.decoder[0] = torch.nn.Conv2d(4, 16, 1)
    with pytest.raises((WeightsError, RuntimeError), match=r"other parts|size mismatch"):
        train(other, photos, tmp_path, minutes=0.002, resume=True)
    swapped = make("vae", photos, tmp_path, monkeypatch)
    vae = swapped.objective.vae
    vae._modules = dict(reversed(vae._modules.items()))
    with pytest.raises(WeightsError, match="other parts"):
        train(swapped, photos, tmp_path, minutes=0.002, resume=True)


def test_a_kill_while_saving_leaves_the_last_state(photos, tmp_path, monkeypatch):
    stage = make("vae", photos, tmp_path, monkeypatch)
    train(stage, photos, tmp_path, minutes=0.002)
    state = tmp_path / "state" / "vae"
    before = {file.name: file.read_bytes() for file in state.iterdir()}
    again = make("vae", photos, tmp_path, monkeypatch)
    monkeypatch.setattr(again, "save", lambda folder: os.kill(os.getpid(), 0) or _raise())
    with pytest.raises(KeyboardInterrupt):
        train(again, photos, tmp_path, minutes=0.004, resume=True)
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


def test_frozen_parts_stay_as_they_are(photos, tmp_path, monkeypatch):
    for name in ("vae", "distortion", "semantic", "codec"):
        train(make(name, photos, tmp_path, monkeypatch), photos, tmp_path, minutes=0.001)
    stage = make("diffusion", photos, tmp_path, monkeypatch)
    vae = stage.trained["vae"]
    encoder = [p.detach().clone() for p in (*vae.klt.parameters(), *vae.encoder.parameters())]
    train(stage, photos, tmp_path, minutes=0.002)
    kept = (*vae.klt.parameters(), *vae.encoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(encoder, kept, strict=True))


def test_crops_are_in_range_and_repeatable(photos):
    paths = list_images(photos)
    a, b = Crops(paths, 64, 1.5, 3).batch(6), Crops(paths, 64, 1.5, 3).batch(6)
    assert a.shape == (6, 3, 64, 64) and a.min() >= -1 and a.max() <= 1
    assert torch.equal(a, b) and not torch.equal(a, Crops(paths, 64, 1.5, 4).batch(6))


def test_drawn_pictures_come_at_their_share(photos):
    paths = list_images(photos)
    drawn = Crops(paths, 64, 1.5, 3, graphics=1.0).batch(40)
    assert drawn.shape == (40, 3, 64, 64) and drawn.min() >= -1 and drawn.max() <= 1
    assert torch.equal(drawn, Crops(paths, 64, 1.5, 3, graphics=1.0).batch(40))
    # A photograph hardly has neighbours of exactly one colour; of a drawing they are the most part.
    alike = (drawn.diff(dim=-1).abs().amax(1) == 0).float().mean((1, 2))
    assert alike.mean() > 0.5
    mixed = Crops(paths, 64, 1.0, 3, graphics=0.25).batch(80)
    count = ((mixed.diff(dim=-1).abs().amax(1) == 0).float().mean((1, 2)) > 0.3).sum()
    assert 8 <= count <= 32


def test_drawn_pictures_are_of_every_kind():
    random = np.random.default_rng(0)
    pictures = [draw_graphic(random, 96) for _ in range(60)]
    assert all(picture.shape == (96, 96, 3) and picture.dtype == np.uint8 for picture in pictures)
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in pictures]
    assert min(colours) == 1 and max(colours) > 50
    white = [(picture == 255).all(2).mean() for picture in pictures]
    assert any(0.5 < share < 0.99 for share in white), "no page with text"


def test_held_out_pictures_are_not_trained_on(photos):
    training, held_out = split(list_images(photos))
    assert held_out and not set(training) & set(held_out)
    assert all(side % 64 == 0 for x in validation_images(held_out) for side in x.shape[-2:])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(InputImageError, match="at least 2 pictures"):
        list_images(tmp_path)


def test_the_lagrangian_rises_with_quality():
    values = lmbda(torch.linspace(0, 255, 9))
    assert (values.diff() > 0).all()
    steps = step_sizes(6)
    assert (steps.diff() < 0).all()
    # Price times squared step is constant: the rule of high-resolution quantization.
    ends = lmbda(torch.tensor([0.0, 255.0])) * (steps[[0, -1]] * 127.5) ** 2
    assert ends[0].item() == pytest.approx(ends[1].item(), rel=1e-4)


def test_psnr_of_known_error():
    x = torch.zeros(1, 3, 8, 8)
    assert psnr_db(x, x + 10 / 127.5) == pytest.approx(
        20 * torch.log10(torch.tensor(255 / 10)).item(), abs=1e-3
    )


def test_sinkhorn_uses_every_prototype_and_gives_probabilities():
    torch.manual_seed(0)
    q = sinkhorn(torch.randn(64, 8) / 8 + torch.tensor([0.4] + [0.0] * 7), iterations=20)
    assert torch.allclose(q.sum(1), torch.ones(64), atol=1e-4)
    assert torch.allclose(q.sum(0), torch.full((8,), 8.0), rtol=0.1)


def test_flat_error_counts_where_the_picture_is_flat():
    torch.manual_seed(0)
    flat, busy = torch.zeros(2, 3, 64, 64), torch.rand(2, 3, 64, 64) * 2 - 1
    grid = torch.zeros(2, 3, 64, 64)
    grid[..., ::8] = 0.02
    assert flat_error(flat, flat) == 0 and flat_error(busy, busy) == 0
    # 15 of 63 horizontal differences are off by 0.02; nothing moderates them on a flat picture.
    assert flat_error(flat + grid, flat).item() == pytest.approx(0.02 * 15 / 63, rel=1e-4)
    assert flat_error(busy + grid, busy) < 0.1 * flat_error(flat + grid, flat)


def test_grid_error_sees_what_repeats_and_not_texture():
    torch.manual_seed(0)
    x = torch.zeros(1, 3, 96, 96)
    noise = 0.1 * torch.randn(1, 1, 96, 96)
    lines = torch.zeros(1, 1, 96, 96)
    lines[..., ::8] = 0.1
    assert grid_error(x + 0.3, x, 8) < 1e-6
    # One column in eight is off by 0.1, and by an eighth of that less the mean: 0.1 * 2 * 7 / 64.
    assert grid_error(x + lines, x, 8).item() == pytest.approx(0.1 * 2 * 7 / 64, rel=1e-4)
    # 25 cells together leave a fifth of the noise's mean magnitude.
    assert grid_error(x + noise, x, 8).item() == pytest.approx(0.1 * 0.798 / 5, rel=0.1)


def test_patch_distributions_know_texture_by_its_kind_and_not_by_its_place():
    torch.manual_seed(0)
    texture, elsewhere = (0.2 * torch.randn(2, 1, 96, 96).expand(2, 3, 96, 96) for _ in range(2))
    dots = torch.zeros(2, 3, 96, 96)
    dots[..., ::4, ::4] = texture.std() * 4  # as strong as the texture

    def distance(x_hat: torch.Tensor) -> float:
        return sum(float(patch_distribution_loss(x_hat, texture, torch.ones(2))) for _ in range(8))

    assert patch_distribution_loss(texture, texture, torch.ones(2)) == 0
    assert dots[:, 0].std() == pytest.approx(float(texture.std()), rel=0.05)
    for worse in (torch.zeros_like(texture), texture / 2, texture * 1.5, dots):
        assert distance(worse) > 3 * distance(elsewhere)


def test_patch_distributions_count_each_picture_by_its_weight():
    x = torch.zeros(2, 3, 64, 64)
    x_hat = torch.cat([x[:1], torch.rand(1, 3, 64, 64)]).requires_grad_()
    assert patch_distribution_loss(x_hat, x, torch.tensor([1.0, 0.0])) == 0
    patch_distribution_loss(x_hat, x, torch.tensor([0.0, 1.0])).backward()
    assert x_hat.grad[1].abs().max() > 0
    assert x_hat.grad[0].abs().max() == 0


def test_structure_loss_is_zero_for_the_same_and_grows_with_blur():
    photo = torch.rand(2, 3, 64, 64) * 2 - 1
    photo = torch.nn.functional.avg_pool2d(photo, 3, 1, 1)
    blurred = torch.nn.functional.avg_pool2d(photo, 5, 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same, worse = structure_loss(photo, photo), structure_loss(blurred, photo)
        flat = structure_loss(torch.zeros_like(photo).requires_grad_(), torch.zeros_like(photo))
    assert abs(same.item()) < 1e-5 and worse > 0.1
    flat.backward()
    assert flat.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("stage, without", [("codec", "f_sem"), ("codec", "f_dist")])
def test_an_encoder_left_out_has_no_influence(stage, without, photos, tmp_path, monkeypatch):
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    objective = make(stage, photos, tmp_path / "run", monkeypatch, without).objective
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    before, _ = objective.analysis(x)
    encoder = {"f_sem": "semantic_encoder", "f_dist": "distortion_encoder"}[without]
    for parameter in objective._frozen[0][encoder].parameters():
        parameter.data.add_(0.1)
    assert torch.equal(objective.analysis(x)[0], before)


@pytest.mark.parametrize("without", ["semantic_tokens", "pixel_features", "coarse"])
def test_the_diffusion_stage_trains_without_each_condition(without, photos, tmp_path, monkeypatch):
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    stage = make("diffusion", photos, tmp_path / "run", monkeypatch, without)
    batch, quality = torch.rand(2, 3, 64, 64) * 2 - 1, torch.tensor([60.0, 180.0])
    torch.manual_seed(0)
    stage.objective.prepare(batch, quality)
    tokens, semantic_map, pixel_features = stage.objective.condition()
    assert (tokens.abs().max() == 0) == (semantic_map.abs().max() == 0)
    assert (tokens.abs().max() == 0) == (without == "semantic_tokens")
    assert (pixel_features.abs().max() == 0) == (without == "pixel_features")
    coarse = stage.objective._frozen[0]["coarse"]
    monkeypatch.setattr(coarse.trunk, "forward", lambda x: x * float("nan"))
    stage.objective.prepare(batch, quality)
    broken = bool(stage.objective.prepared["x_coarse"].isnan().any())
    assert broken == (without != "coarse"), "without the coarse module its networks must not matter"


def test_the_learning_rate_keeps_its_peak_and_falls():
    factors = [learning_rate_factor(progress) for progress in (0, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0)]
    assert factors[:3] == [1, 1, 1] and factors[-1] == pytest.approx(0.02)
    assert all(later < earlier for earlier, later in itertools.pairwise(factors[2:]))


def test_inventing_counts_more_with_fewer_bits():
    weights = realism(torch.tensor([0.0, 120.0, 140.0, 200.0, 255.0]))
    assert weights[2:4].tolist() == [1, 0.5]
    assert (weights.diff() < 0).all()
    assert (weights[0], weights[-1]) == REALISM_RANGE[::-1]


def test_the_adversary_goes_on_with_the_run(photos, tmp_path, monkeypatch):
    small_pipeline().save_pretrained(tmp_path / "checkpoint")
    unpack(tmp_path / "checkpoint", tmp_path / "run")
    first = make("diffusion", photos, tmp_path / "run", monkeypatch)
    assert first.objective.adversary_starts > 0
    train(first, photos, tmp_path / "run", minutes=0.001)
    second = make("diffusion", photos, tmp_path / "run", monkeypatch)
    assert second.objective.adversary_starts == 0
    state, again = (each.objective.adversary.state_dict() for each in (first, second))
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_an_unknown_ablation_is_named(photos, tmp_path):
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(
        app, ["vae", "--data", str(photos), "--out", str(tmp_path), "--without", "f_sem"]
    )
    assert result.exit_code == 2 and "f_sem" in result.output


def test_the_adversary_tells_sharp_from_blurred():
    torch.manual_seed(0)
    adversary = PatchDiscriminator(8)
    optimizer = torch.optim.Adam(adversary.parameters(), 2e-3)
    sharp = torch.rand(4, 3, 64, 64) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    first = None
    for _ in range(40):
        real, features = adversary(sharp, blurred)
        fake, _ = adversary(blurred, blurred)
        loss = hinge_loss(real, fake)
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * first
    assert real.shape == (4, 1, 8, 8) and len(features) == 4
    grey = torch.full((1, 3, 2, 2), 0.5)
    assert torch.allclose(luma_first(grey)[:, 1:], torch.zeros(1, 2, 2, 2), atol=1e-3)
