"""The conditional denoiser: diffusers' U-Net, fed with latents_hat and both conditions."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from sprdiff.reconstruction.conditions import Conditions


def predict_latents(
    unet: UNet2DConditionModel,
    noisy_latents: Tensor,
    timestep: Tensor,
    latents_hat: Tensor,
    conditions: Conditions,
) -> Tensor:
    """The clean latents that the denoiser sees in noisy ones.

    The U-Net predicts the difference to ``latents_hat``, so that an untrained one (its last layer at
    zero) hands the decoded latents through.

    Args:
        unet: takes ``noisy_latents``, ``latents_hat`` and both maps of ``conditions`` as channels.
        noisy_latents, latents_hat: (B, C, H/8, W/8).
        timestep: (B,) int64.
        conditions: taken from the coarse picture.
    """
    sample = torch.cat([noisy_latents, latents_hat, conditions.pixel_features, conditions.semantic_map], 1)
    return latents_hat + unet(sample, timestep, encoder_hidden_states=conditions.tokens).sample


def initialize(unet: UNet2DConditionModel) -> None:
    """Start the U-Net's output at zero."""
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
