"""From noise around latents_hat to clean latents, in one step or more."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import DDPMScheduler
from torch import Tensor

# Where sampling starts: latents_hat is noised to this timestep. Half way, so that what was decoded
# still shows through the noise.
START_TIMESTEP = 499

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(noisy_latents, timestep (B,)) to clean latents."""


def timesteps(num_inference_steps: int) -> list[int]:
    """Falling timesteps, START_TIMESTEP first."""
    return [round(START_TIMESTEP * (1 - i / num_inference_steps)) for i in range(num_inference_steps)]


def ddim_sample(
    denoise: Denoise,
    scheduler: DDPMScheduler,
    latents_hat: Tensor,
    noise: Tensor,
    num_inference_steps: int = 1,
) -> Tensor:
    """Clean latents by deterministic DDIM steps (Song et al. 2021, arXiv:2010.02502).

    With one step this is a single evaluation of the denoiser, as in one-step diffusion codecs
    (StableCodec, arXiv:2506.21977).

    Args:
        denoise: predicts clean latents.
        scheduler: holds the noise schedule.
        latents_hat: decoded latents, (B, C, H/8, W/8).
        noise: standard normal, the same shape.
        num_inference_steps: at least 1.
    """
    steps = timesteps(num_inference_steps)
    batch = len(latents_hat)
    at = [torch.full((batch,), t, dtype=torch.int64, device=latents_hat.device) for t in steps]
    noisy_latents = scheduler.add_noise(latents_hat, noise, at[0])
    for i, t in enumerate(at):
        latents = denoise(noisy_latents, t)
        if i + 1 < len(at):
            # The noise that, on the clean latents, explains what the denoiser saw.
            alpha = scheduler.alphas_cumprod[steps[i]]
            seen = (noisy_latents - alpha.sqrt() * latents) / (1 - alpha).sqrt()
            noisy_latents = scheduler.add_noise(latents, seen, at[i + 1])
    return latents
