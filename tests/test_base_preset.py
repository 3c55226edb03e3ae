"""The preset of the paper's scale, on exact small copies of the networks that it is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import teachers
import torch
from accelerate import init_empty_weights
from conftest import make_photo
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from hub import REPO_ID, HubServer
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from sprdiff.checkpoint.config import BASE, PRESETS, ModelConfig
from sprdiff.checkpoint.parts import build_part, load_part, save_part
from sprdiff.diffusion.denoiser import denoise
from sprdiff.encoders.semantic import semantic_features, semantic_tokens
from sprdiff.encoders.zoo import ZooEncoder
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.reconstruction.conditions import Conditions
from sprdiff.training import export
from sprdiff.training.__main__ import RECIPES
from sprdiff.training.data import Crops, list_images, split
from sprdiff.training.diffusion_stage import add_lora, merged
from sprdiff.training.loop import Schedule, Training
from sprdiff.training.pretrained import with_conditions
from sprdiff.training.settings import read_settings
from sprdiff.training.stage import StageOptions
from sprdiff.training.stages import STAGES

REPOSITORY = Path(__file__).resolve().parent.parent
SMALL_VAE = BASE.vae | {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4, "layers_per_block": 1}
SMALL_UNET = BASE.unet | {
    "in_channels": 4,
    "block_out_channels": (8, 8, 16, 16),
    "cross_attention_dim": 16,
    "attention_head_dim": (1, 2, 2, 2),
    "norm_num_groups": 4,
    "layers_per_block": 1,
}
SMALL_SEMANTIC = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 56,
    "patch_size": 14,
    "num_register_tokens": 4,
}
CODEC = ("mbt2018-mean", 1)
# Ours between them; y has the channels of the zoo's smallest model.
SMALL_BASE = ModelConfig(
    classes=BASE.classes,
    fusion={"vae_channels": 16, "distortion_channels": 192, "semantic_channels": 24,
            "latent_channels": 192, "hidden_channels": 16, "depth": 1},
    latent_codec={"latent_channels": 192, "slices": (8, 56, 128), "hyper_channels": 4, "feature_channels": 12,
                  "hidden_channels": 16, "num_anchors": 3},
    coarse={"latent_channels": 192, "hidden_channels": 16, "depth": 1, "up_channels": (8, 8),
            "up_depths": (1, 1), "num_anchors": 3},
    conditions={"stride": 8, "semantic_channels": 24, "token_channels": 16, "mix_depth": 1, "map_channels": 4,
                "pixel_channels": 12, "depth": 1},
)  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """What lies on the Hub, small: a diffusion model as SD-Turbo's repository holds it, and a DINOv2."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("published")
    AutoencoderKL(**SMALL_VAE).save_pretrained(folder / "vae")
    UNet2DConditionModel(**SMALL_UNET).save_pretrained(folder / "unet")
    # SD-Turbo's own scheduler is not the one that we train with.
    schedule = {key: BASE.scheduler[key] for key in ("beta_schedule", "beta_start", "beta_end")}
    EulerDiscreteScheduler(**schedule, timestep_spacing="trailing").save_pretrained(folder / "scheduler")
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"not for us")
    Dinov2WithRegistersModel(Dinov2WithRegistersConfig(**SMALL_SEMANTIC)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return teachers.save_photographs(tmp_path_factory.mktemp("photos"), 6, 200, 196)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """A torch cache with random weights under the name of the zoo's file."""
    from compressai.zoo import image_models

    home = tmp_path_factory.mktemp("torch")
    (home / "hub/checkpoints").mkdir(parents=True)
    torch.manual_seed(1)
    state = image_models[CODEC[0]](quality=CODEC[1]).state_dict()
    torch.save(state, home / "hub/checkpoints/mbt2018-mean-1-e522738d.pth.tar")
    return home


def fetch(run: Path, published: Path, zoo: Path, cache: Path, *changes: str) -> subprocess.CompletedProcess:
    """``python -m sprdiff.training.pretrained`` against a Hub on this machine, in a process of its own."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    options = {
        "diffusion": REPO_ID,
        "semantic": f"{REPO_ID}@main",
        "codec": CODEC[0],
        "codec_quality": CODEC[1],
        "condition_channels": 16,
    }
    sets = [f"--set={key}={value}" for key, value in options.items()] + [f"--set={each}" for each in changes]
    with HubServer({"main": published}) as hub:
        environment = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(cache),
            "TORCH_HOME": str(zoo),
            "NO_PROXY": "127.0.0.1",
            "PYTHONPATH": str(REPOSITORY),
        }
        done = subprocess.run(
            [sys.executable, "-m", "sprdiff.training.pretrained", str(run), *sets],
            env=clean | environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    done.requests = hub.requests
    return done


@pytest.fixture(scope="module")
def laid_out(published, zoo, tmp_path_factory) -> Path:
    """A run with the published parts."""
    run = tmp_path_factory.mktemp("base") / "run"
    done = fetch(run, published, zoo, run.parent / "cache")
    assert done.returncode == 0, done.stderr
    assert not any("fp16" in request for request in done.requests), "half-precision copies are not fetched"
    return run


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("vae", 83_653_863),
        # 865,910,724 as published, and the first layer's weights of the conditions.
        ("unet", 865_910_724 + 320 * (192 + 64) * 9),
        ("semantic_encoder", 86_580_480),
    ],
)
def test_published_parts_have_the_published_size(name, count):
    with init_empty_weights():
        part = build_part(name, BASE)
    assert sum(parameter.numel() for parameter in part.parameters()) == count


def test_the_sizes_of_the_base_preset_fit_together():
    with init_empty_weights():
        parts = {
            name: build_part(name, BASE)
            for name in ("fusion", "conditions", "unet", "latent_codec", "coarse")
        }
    parts |= {"encoder": ZooEncoder(**BASE.distortion_encoder)}
    for part in parts.values():
        part.to("meta")
    with torch.device("meta"), torch.no_grad():
        f_dist = parts["encoder"](torch.empty(1, 3, 128, 192))
        y = parts["fusion"](torch.empty(1, 16, 8, 12), f_dist, torch.empty(1, 768, 8, 12))
        assert y.shape == (1, 192, 8, 12)
        assert sum(parts["latent_codec"].config.slices) == parts["coarse"].config.latent_channels == 192
        x_coarse = parts["coarse"](y, torch.empty(1))
        tokens, semantic_map, pixels = parts["conditions"](x_coarse, torch.empty(1, 1 + 8 * 12, 768))
        sample = torch.cat([torch.empty(1, 4, 16, 24), pixels, semantic_map], 1)
        latents = parts["unet"](sample, torch.empty(1, dtype=torch.long), encoder_hidden_states=tokens).sample
    assert x_coarse.shape == (1, 3, 128, 192) and latents.shape == (1, 4, 16, 24)


def test_recipes_are_settings_of_their_stages():
    recipes = sorted(RECIPES.glob("*/*.yaml"))
    assert {path.parent.name for path in recipes} <= set(PRESETS)
    for path in recipes:
        assert read_settings(STAGES[path.stem].settings_type, path)
    assert {path.stem for path in recipes if path.parent.name == "base"} == {
        "distortion",
        "codec",
        "diffusion",
    }


def test_published_parts_are_laid_out_in_their_own_classes(laid_out, published):
    vae, unet = load_part("vae", laid_out), load_part("unet", laid_out)
    assert isinstance(vae, AutoencoderKL) and unet.config.in_channels == 4 + 16
    assert load_part("scheduler", laid_out).config.prediction_type == "epsilon"
    encoder = load_part("distortion_encoder", laid_out)
    assert isinstance(encoder, ZooEncoder) and encoder.channels == 192
    # What the U-Net did before, it does still: the conditions are zeros to it.
    before = UNet2DConditionModel.from_pretrained(published / "unet")
    latents, tokens = torch.randn(1, 4, 16, 16), torch.randn(1, 5, 16)
    more = torch.cat([latents, torch.randn(1, 16, 16, 16)], 1)
    with torch.no_grad():
        expected = before(latents, 100, encoder_hidden_states=tokens).sample
        assert torch.allclose(unet(more, 100, encoder_hidden_states=tokens).sample, expected, atol=1e-5)


def test_registers_are_no_places(laid_out):
    encoder = load_part("semantic_encoder", laid_out)
    assert isinstance(encoder, Dinov2WithRegistersModel)
    x = torch.rand(1, 3, 64, 96) * 2 - 1
    with torch.no_grad():
        tokens, features = semantic_tokens(encoder, x), semantic_features(encoder, x)
        whole = encoder(pixel_values=torch.zeros(1, 3, 56, 84)).last_hidden_state
    assert whole.shape[1] == 1 + 4 + 4 * 6, "the fixture has registers"
    assert tokens.shape == (1, 1 + 4 * 6, 24) and features.shape == (1, 24, 4, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["diffusion=sprdiff/nothing"], "no repository of that name"),
        (["semantic=no id"], "neither a folder nor a Hugging Face Hub id"),
        (["codec=jpeg"], "The zoo has bmshj2018-factorized, "),
        (["model=x"], "model is no setting here; there are diffusion, semantic, codec"),
    ],
)
def test_what_cannot_be_fetched_is_one_line(changes, message, published, zoo, tmp_path):
    done = fetch(tmp_path / "run", published, zoo, tmp_path / "cache", *changes)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1], done.stderr
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_their_configuration_are_an_error(published, zoo, tmp_path):
    broken = tmp_path / "published"
    subprocess.run(["cp", "-r", published, broken], check=True)
    config = json.loads((broken / "unet/config.json").read_text())
    (broken / "unet/config.json").write_text(json.dumps(config | {"time_cond_proj_dim": 8}))
    done = fetch(tmp_path / "run", broken, zoo, tmp_path / "cache")
    assert done.returncode == 2 and "The U-Net has" in done.stderr and "missing keys" in done.stderr, (
        done.stderr
    )


def test_a_solved_encoder_gives_coefficients_of_pixels():
    torch.manual_seed(0)
    encoder = ZooEncoder(*CODEC).eval()
    # Features that say everything about their block, linearly, in a mixture of their own.
    blocks = torch.randn(4000, 191) @ torch.randn(191, 768) * 0.1 + 0.3
    mixture = torch.randn(768, 192)
    features = blocks @ mixture / 20
    basis, rms = encoder.fit(features, blocks)
    assert torch.allclose(basis @ basis.T, torch.eye(192), atol=1e-4)
    assert (rms.diff() <= 0).all()
    y = encoder.project(features.T[None, :, :, None])[0, :, :, 0].T
    assert torch.allclose(y @ basis, blocks, atol=2e-2)
    assert torch.allclose(y.pow(2).mean(0).sqrt(), rms, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_a_perfect_denoiser_gives_the_latents_back(kind):
    scheduler = build_part("scheduler", ModelConfig(scheduler=BASE.scheduler | {"prediction_type": kind}))
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    maps = torch.zeros(2, 1, 8, 8)

    class Perfect:
        def __call__(self, sample, timestep, encoder_hidden_states):
            velocity = scheduler.get_velocity(latents, noise, timestep)
            return type("Output", (), {"sample": noise if kind == "epsilon" else velocity})

    conditions = Conditions(torch.zeros(2, 1, 1), maps, maps)
    out = denoise(Perfect(), scheduler, latents, noise, torch.tensor([0.0, 255.0]), conditions)
    assert torch.allclose(out, latents, atol=1e-4)


def test_an_unknown_prediction_type_is_an_error(laid_out):
    parts = {name: None for name in ("vae",)}
    scheduler = build_part("scheduler", ModelConfig(scheduler=BASE.scheduler | {"prediction_type": "flow"}))
    with pytest.raises(WeightsError, match="prediction type can be sample, epsilon, v_prediction, not flow"):
        SPRDiffPipeline(
            vae=parts["vae"], distortion_encoder=None, semantic_encoder=None, fusion=None, latent_codec=None,
            coarse=None, conditions=None, unet=None, scheduler=scheduler,
        )  # fmt: skip


def test_a_part_of_a_strange_class_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match="vae can be KLTAutoencoder or AutoencoderKL, not UNet"):
        build_part("vae", ModelConfig(classes={"vae": "UNet"}))
    save_part(UNet2DConditionModel(**SMALL_UNET), tmp_path / "vae")
    with pytest.raises(
        WeightsError, match="vae is a UNet2DConditionModel, not a KLTAutoencoder or AutoencoderKL"
    ):
        load_part("vae", tmp_path)


def test_low_rank_changes_are_merged():
    torch.manual_seed(0)
    unet = with_conditions(UNet2DConditionModel(**SMALL_UNET), 16)
    names = set(unet.state_dict())
    add_lora(unet, 2, ("to_q", "conv1"))
    trained = {name for name, parameter in unet.named_parameters() if parameter.requires_grad}
    assert {name.rsplit(".", 3)[-3] for name in trained if "lora" in name} == {"lora_A", "lora_B"}
    assert trained - {name for name in trained if "lora" in name} == {"conv_in.weight", "conv_in.bias"}
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    whole = merged(unet.eval())
    assert set(whole.state_dict()) == names, "a merged U-Net is a plain one"
    sample, tokens = torch.randn(1, 20, 8, 8), torch.randn(1, 3, 16)
    with torch.no_grad():
        expected = unet(sample, 5, encoder_hidden_states=tokens).sample
        assert torch.allclose(whole(sample, 5, encoder_hidden_states=tokens).sample, expected, atol=1e-4)
    with pytest.raises(SettingsError, match="lora_layers"):
        add_lora(UNet2DConditionModel(**SMALL_UNET), 2, ("no_such_layer",))


def test_stages_ask_for_what_others_trained(photos, tmp_path):
    for name, message in (
        ("distortion", "sprdiff.training.pretrained"),
        ("vae", "sprdiff.training.pretrained"),
    ):
        with pytest.raises(SettingsError, match=message):
            stage(name, photos, tmp_path / "run")


def stage(name: str, photos: Path, run: Path, **changes):
    settings = read_settings(
        STAGES[name].settings_type, RECIPES / f"base/{name}.yaml" if name != "vae" else None,
        {"steps": 2, "batch_size": 2, "crop": 64, "warmup_steps": 1} | changes,
    )  # fmt: skip
    crops = Crops(split(list_images(photos))[0], settings.crop, 1.0, 0)
    return STAGES[name](settings, SMALL_BASE, run, crops, StageOptions(backbones=photos))


def test_the_base_stages_make_a_checkpoint_that_codes(laid_out, photos, tmp_path, monkeypatch):
    """All of it: stages, export, load, compress, decompress."""
    teachers.install(monkeypatch)
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", laid_out, run], check=True)
    # Sixty batches are for real photographs.
    monkeypatch.setattr("sprdiff.training.transform_stages.fit_encoder.__defaults__", (8,))
    for name, changes in (("distortion", {}), ("codec", {}), ("diffusion", {"lora_rank": 2})):
        trained = stage(name, photos, run, **changes)
        before = {key: value.clone() for key, value in load_part("unet", run).state_dict().items()}
        Training(trained, photos, run, Schedule(workers=0)).run()
    after = load_part("unet", run).state_dict()
    assert before.keys() == after.keys(), "saved is a plain U-Net"
    changed = {key for key, value in after.items() if not torch.equal(value, before[key])}
    assert "conv_in.weight" in changed and any(key.endswith("to_q.weight") for key in changed)
    assert not any("norm" in key for key in changed), "LoRA leaves the rest as it was"

    monkeypatch.setitem(PRESETS, "base", SMALL_BASE)
    export.main(run, tmp_path / "checkpoint", preset="base", max_shard_size="9MB")
    assert (tmp_path / "checkpoint/training/diffusion.yaml").exists()
    pipeline = SPRDiffPipeline.from_pretrained(tmp_path / "checkpoint")
    assert isinstance(pipeline.vae, AutoencoderKL)
    photo = make_photo()
    data = pipeline.compress(photo, quality=120)
    decoded = SPRDiffPipeline.from_pretrained(tmp_path / "checkpoint").decompress(data)
    assert decoded.final.size == decoded.coarse.size == photo.size
