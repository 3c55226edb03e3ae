"""The coarse picture's share of the final one: its low frequencies."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# Pixels that one mean stands for: the stride of the latents that the diffusion model works on.
CELL = 8


def take_low_frequencies(x_hat: Tensor, x_coarse: Tensor) -> Tensor:
    """``x_hat`` with the low frequencies of ``x_coarse``.

    Colours and large structures are what the bits were spent on, and the coarse picture has them with the
    least error; a generative model lets them drift. So the difference of the two, averaged over cells of
    8 x 8 pixels and interpolated, is added: details stay, drift goes. Related to the wavelet colour fix of
    StableSR (arXiv:2305.07015); not part of SPRDiff as published.

    Args:
        x_hat, x_coarse: (B, 3, H, W), sides divisible by 8.
    """
    drift = F.avg_pool2d(x_coarse - x_hat, CELL)
    return x_hat + F.interpolate(drift, scale_factor=float(CELL), mode="bilinear")
