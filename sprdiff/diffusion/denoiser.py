"""The conditional denoiser: diffusers' U-Net, from the coarse picture's noised latents to the final one's."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from sprdiff.layers.quality import MAX_QUALITY
from sprdiff.reconstruction.conditions import Conditions

# The timesteps from which qualities 0 and 255 are denoised: the fewer bits, the more is left to draw.
START_TIMESTEPS = (700, 200)


def start_timestep(quality: Tensor) -> Tensor:
    """The timestep (B,), int64, to which latents of a quality (B,) are noised.

    Straight between ``START_TIMESTEPS``. It also tells the denoiser the quality, and with it how much of
    what it sees is to be believed.
    """
    first, last = START_TIMESTEPS
    return (first + (last - first) * quality / MAX_QUALITY).round().long()


def denoise(
    unet: UNet2DConditionModel,
    scheduler: DDPMScheduler,
    latents_hat: Tensor,
    noise: Tensor,
    quality: Tensor,
    conditions: Conditions,
) -> Tensor:
    """Clean latents in one step, as one-step diffusion codecs do it (StableCodec, arXiv:2506.21977).

    The U-Net predicts the difference to ``latents_hat``, so that an untrained one (its last layer at zero)
    hands the latents of the coarse picture through. It does not see them clean: what it knows of the coarse
    picture it has from ``conditions``.

    Args:
        unet: takes noised latents and both maps of ``conditions`` as channels.
        scheduler: holds the noise schedule.
        latents_hat: latents of the coarse picture, (B, C, H/stride, W/stride).
        noise: standard normal, the same shape.
        quality: (B,) in [0, 255].
        conditions: taken from the coarse picture.
    """
    timestep = start_timestep(quality)
    noisy_latents = scheduler.add_noise(latents_hat, noise, timestep)
    sample = torch.cat([noisy_latents, conditions.pixel_features, conditions.semantic_map], 1)
    return latents_hat + unet(sample, timestep, encoder_hidden_states=conditions.tokens).sample


def initialize(unet: UNet2DConditionModel) -> None:
    """Start the U-Net's output at zero."""
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
