"""The denoiser: where it starts, what it sees, and what an untrained one gives."""

from __future__ import annotations

import pytest
import torch
from tiny import SMALL, small_part

from sprdiff.checkpoint.parts import build_part
from sprdiff.decoding import DecodingSettings
from sprdiff.diffusion.denoiser import denoise, initialize, start_timestep
from sprdiff.layers.quality import MAX_QUALITY
from sprdiff.reconstruction.conditions import Conditions

QUALITY = torch.tensor([40.0, 210.0])


@pytest.fixture
def scheduler():
    return build_part("scheduler", SMALL)


@pytest.fixture
def inputs() -> dict:
    """Two pictures of 64 x 64 pixels: latents, noise, and conditions of the small configuration."""
    torch.manual_seed(0)
    latents_hat, noise = torch.randn(2, 2, 8, 16, 16)
    conditions = Conditions(torch.randn(2, 17, 16), torch.randn(2, 4, 16, 16), torch.randn(2, 12, 16, 16))
    return {"latents_hat": latents_hat, "noise": noise, "quality": QUALITY, "conditions": conditions}


def test_the_start_falls_with_quality_and_hits_both_ends():
    timesteps = start_timestep(torch.arange(MAX_QUALITY + 1))
    assert timesteps.dtype == torch.int64
    assert (timesteps[0], timesteps[-1]) == DecodingSettings.start_timesteps
    assert (timesteps.diff() < 0).all()
    assert start_timestep(torch.tensor([MAX_QUALITY / 2])) == sum(DecodingSettings.start_timesteps) // 2


def test_an_untrained_denoiser_hands_the_latents_through(scheduler, inputs):
    unet = small_part("unet")
    assert not torch.equal(denoise(unet, scheduler, **inputs), inputs["latents_hat"])
    initialize(unet)
    assert torch.equal(denoise(unet, scheduler, **inputs), inputs["latents_hat"])


def test_the_denoiser_does_not_see_the_latents_clean(scheduler, inputs):
    unet, seen = small_part("unet"), {}

    def see(module, arguments, options):
        seen.update(zip(("sample", "timestep"), arguments, strict=True), **options)

    unet.register_forward_pre_hook(see, with_kwargs=True)
    denoise(unet, scheduler, **inputs)
    latents_hat, noise, conditions = inputs["latents_hat"], inputs["noise"], inputs["conditions"]
    timestep = start_timestep(QUALITY)
    alpha = scheduler.alphas_cumprod[timestep][:, None, None, None]
    noised = alpha.sqrt() * latents_hat + (1 - alpha).sqrt() * noise
    assert torch.equal(seen["timestep"], timestep)
    assert torch.allclose(seen["sample"][:, :8], noised, atol=1e-6)
    assert torch.equal(seen["sample"][:, 8:20], conditions.pixel_features)
    assert torch.equal(seen["sample"][:, 20:], conditions.semantic_map)
    assert torch.equal(seen["encoder_hidden_states"], conditions.tokens)


@pytest.mark.parametrize("name", Conditions._fields)
def test_every_condition_matters_to_its_own_picture(scheduler, inputs, name):
    unet = small_part("unet")
    before = denoise(unet, scheduler, **inputs)
    value = getattr(inputs["conditions"], name).clone()
    value[1] *= -1
    inputs["conditions"] = inputs["conditions"]._replace(**{name: value})
    after = denoise(unet, scheduler, **inputs)
    assert torch.allclose(after[0], before[0], atol=1e-6)
    assert not torch.allclose(after[1], before[1], atol=1e-6)
