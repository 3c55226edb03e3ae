"""The conditional denoiser: diffusers' U-Net, fed with latents_hat and both conditions."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor


def predict_latents(
    unet: UNet2DConditionModel,
    noisy_latents: Tensor,
    timestep: Tensor,
    latents_hat: Tensor,
    tokens: Tensor,
    pixel_features: Tensor,
) -> Tensor:
    """The clean latents that the denoiser sees in noisy ones.

    The U-Net predicts the difference to ``latents_hat``, so that an untrained one (its last layer at
    zero) hands the decoded latents through.

    Args:
        unet: takes the channels of ``noisy_latents``, ``latents_hat`` and ``pixel_features`` together.
        noisy_latents, latents_hat: (B, C, H/8, W/8).
        timestep: (B,) int64.
        tokens: semantic condition for the cross-attention, (B, T, D).
        pixel_features: (B, P, H/8, W/8).
    """
    sample = torch.cat([noisy_latents, latents_hat, pixel_features], 1)
    return latents_hat + unet(sample, timestep, encoder_hidden_states=tokens).sample


def initialize(unet: UNet2DConditionModel) -> None:
    """Start the U-Net's output at zero."""
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
