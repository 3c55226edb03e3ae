"""The sampler and the denoiser's start."""

from __future__ import annotations

import pytest
import torch
from tiny import SMALL

from sprdiff.diffusion.denoiser import initialize, predict_latents
from sprdiff.diffusion.sampler import START_TIMESTEP, ddim_sample, timesteps
from sprdiff.parts import build_part
from sprdiff.reconstruction.conditions import Conditions


def test_timesteps_fall_from_the_start():
    assert timesteps(1) == [START_TIMESTEP]
    steps = timesteps(10)
    assert steps[0] == START_TIMESTEP and steps == sorted(set(steps), reverse=True) and steps[-1] > 0


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_perfect_denoiser_gives_its_answer_after_any_number_of_steps(count):
    scheduler = build_part("scheduler", SMALL)
    truth = torch.randn(1, 4, 8, 8)
    seen = []

    def denoise(noisy_latents, timestep):
        seen.append((noisy_latents, int(timestep[0])))
        return truth

    latents_hat, noise = torch.randn(2, 1, 4, 8, 8)
    out = ddim_sample(denoise, scheduler, latents_hat, noise, count)
    assert torch.equal(out, truth)
    assert [t for _, t in seen] == timesteps(count)
    alpha = scheduler.alphas_cumprod[START_TIMESTEP]
    assert torch.allclose(seen[0][0], alpha.sqrt() * latents_hat + (1 - alpha).sqrt() * noise, atol=1e-6)


def test_ddim_keeps_the_noise_it_infers():
    scheduler = build_part("scheduler", SMALL)
    truth, noise = torch.randn(2, 1, 4, 8, 8)
    inputs = []

    def denoise(noisy_latents, timestep):
        inputs.append(noisy_latents)
        return truth

    ddim_sample(denoise, scheduler, truth, noise, 4)
    for step, noisy_latents in zip(timesteps(4), inputs, strict=True):
        alpha = scheduler.alphas_cumprod[step]
        expected = alpha.sqrt() * truth + (1 - alpha).sqrt() * noise
        assert torch.allclose(noisy_latents, expected, atol=1e-4)


def test_an_untrained_denoiser_hands_the_decoded_latents_through():
    unet = build_part("unet", SMALL).eval()
    initialize(unet)
    latents_hat = torch.randn(1, 4, 8, 8)
    conditions = Conditions(torch.randn(1, 17, 16), torch.randn(1, 4, 8, 8), torch.randn(1, 8, 8, 8))
    out = predict_latents(unet, torch.randn(1, 4, 8, 8), torch.tensor([499]), latents_hat, conditions)
    assert torch.equal(out, latents_hat)
