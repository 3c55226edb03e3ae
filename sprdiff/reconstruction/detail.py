"""The final picture: the coarse one with the details that the diffusion model has drawn."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sprdiff.layers.colour import luma

# Pixels that one mean stands for: the stride of the latents that the diffusion model works on.
CELL = 8


def add_details(x_coarse: Tensor, x_hat: Tensor) -> Tensor:
    """``x_coarse`` with the high frequencies of ``x_hat``'s luma.

    Colours and large structures are what the bits were spent on, and the coarse picture has them with the
    least error; a generative model lets them drift, and a small one draws colour in the blocks of its
    latents. So only differences in luma are taken, and of these only what their means over cells of 8 x 8
    pixels, interpolated, do not hold. Related to the wavelet colour fix of StableSR (arXiv:2305.07015); not
    part of SPRDiff as published.

    Args:
        x_coarse, x_hat: (B, 3, H, W), sides divisible by 8.
    """
    difference = luma(x_hat - x_coarse)
    drift = F.interpolate(F.avg_pool2d(difference, CELL), scale_factor=float(CELL), mode="bilinear")
    return x_coarse + (difference - drift)
