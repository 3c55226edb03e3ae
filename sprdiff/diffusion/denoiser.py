"""The conditional denoiser: diffusers' U-Net, from the coarse picture's noised latents to the final one's."""

from __future__ import annotations

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from sprdiff.decoding import DecodingSettings
from sprdiff.errors import WeightsError
from sprdiff.layers.quality import MAX_QUALITY
from sprdiff.reconstruction.conditions import Conditions

PREDICTION_TYPES = ("sample", "epsilon", "v_prediction")


def start_timestep(quality: Tensor, ends: tuple[int, int] = DecodingSettings.start_timesteps) -> Tensor:
    """The timestep (B,), int64, to which latents of a quality (B,) are noised.

    Straight between ``ends``, those of qualities 0 and 255. It also tells the denoiser the quality, and with
    it how reliable the coarse picture is.
    """
    first, last = ends
    return (first + (last - first) * quality / MAX_QUALITY).round().long()


def denoise(
    unet: UNet2DConditionModel,
    scheduler: DDPMScheduler,
    latents_hat: Tensor,
    noise: Tensor,
    quality: Tensor,
    conditions: Conditions,
    start_timesteps: tuple[int, int] = DecodingSettings.start_timesteps,
) -> Tensor:
    """Clean latents in one step, as one-step diffusion codecs do it (StableCodec, arXiv:2506.21977).

    What the U-Net's output means, the scheduler's prediction type says: for ``sample`` it is the difference
    to ``latents_hat``, so that an untrained U-Net (its last layer at zero) hands the latents of the coarse
    picture through; ``epsilon`` and ``v_prediction``, of pretrained ones, are as in diffusers. It does not
    see ``latents_hat`` clean: what it knows of the coarse picture it has from ``conditions``.

    Args:
        unet: takes noised latents and both maps of ``conditions`` as channels.
        scheduler: holds the noise schedule.
        latents_hat: latents of the coarse picture, (B, C, H/stride, W/stride), float32: what is returned has
            its precision, whatever that of the U-Net.
        noise: standard normal, the same shape.
        quality: (B,) in [0, 255].
        conditions: taken from the coarse picture, in the precision of the U-Net.
        start_timesteps: of qualities 0 and 255.
    """
    timestep = start_timestep(quality, start_timesteps)
    noisy_latents = scheduler.add_noise(latents_hat, noise, timestep)
    maps = (conditions.pixel_features, conditions.semantic_map)
    sample = torch.cat([noisy_latents.to(maps[0].dtype), *maps], 1)
    output = unet(sample, timestep, encoder_hidden_states=conditions.tokens).sample
    kind = scheduler.config.prediction_type
    if kind == "sample":
        return latents_hat + output
    alpha = scheduler.alphas_cumprod.to(latents_hat)[timestep][:, None, None, None]
    if kind == "epsilon":
        return (noisy_latents - (1 - alpha).sqrt() * output) / alpha.sqrt()
    return alpha.sqrt() * noisy_latents - (1 - alpha).sqrt() * output


def check_prediction(scheduler: DDPMScheduler) -> None:
    """Passes if :func:`denoise` supports what the U-Net predicts.

    Raises:
        WeightsError: it does not.
    """
    kind = scheduler.config.prediction_type
    if kind not in PREDICTION_TYPES:
        raise WeightsError(
            f"The scheduler's prediction type can be {', '.join(PREDICTION_TYPES)}, not {kind}."
        )


def initialize(unet: UNet2DConditionModel) -> None:
    """Start the U-Net's output at zero."""
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
