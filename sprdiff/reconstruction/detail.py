"""The colours of what is decoded: the final picture has those of the coarse one, grayscale ones none."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from sprdiff.decoding import DecodingSettings


def keep_colours(x_coarse: Tensor, x_hat: Tensor, cell: int = DecodingSettings.colour_cell) -> Tensor:
    """``x_hat`` with the means of ``x_coarse`` over cells of ``cell`` x ``cell`` pixels, interpolated.

    The first bits are spent on the colours of large areas, and the coarse picture has them with the least
    error; a generative model shifts them. Related to the wavelet colour fix of StableSR (arXiv:2305.07015);
    not part of SPRDiff as published.

    Args:
        x_coarse, x_hat: (B, 3, H, W), sides divisible by ``cell``.
    """
    drift = F.avg_pool2d(x_hat - x_coarse, cell)
    return x_hat - F.interpolate(drift, scale_factor=float(cell), mode="bilinear")


def without_colour(x: Tensor) -> Tensor:
    """The gray picture (B, 3, H, W) of ``x`` (B, 3, H, W).

    The mean of the channels, not luma: each is an estimate of one and the same gray.
    """
    return x.mean(1, keepdim=True).expand_as(x)
