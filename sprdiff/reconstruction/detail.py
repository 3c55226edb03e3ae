"""The final picture: what the diffusion model has drawn, with the colours of the coarse one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

# Pixels that one mean stands for: details may be as large as this.
CELL = 32


def keep_colours(x_coarse: Tensor, x_hat: Tensor) -> Tensor:
    """``x_hat`` with the means of ``x_coarse`` over cells of 32 x 32 pixels, interpolated.

    The colours of large areas are what the first bits are spent on, and the coarse picture has them with the
    least error; a generative model lets them drift. Related to the wavelet colour fix of StableSR
    (arXiv:2305.07015); not part of SPRDiff as published.

    Args:
        x_coarse, x_hat: (B, 3, H, W), sides divisible by 32.
    """
    drift = F.avg_pool2d(x_hat - x_coarse, CELL)
    return x_hat - F.interpolate(drift, scale_factor=float(CELL), mode="bilinear")
