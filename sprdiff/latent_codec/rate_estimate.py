"""What rounding and coding will do to a latent, in forms that training can differentiate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sprdiff.latent_codec.gaussian import gaussian_bits

RateEstimate = Literal["noisy", "mixed", "rounded"]
"""How bits are estimated; see :meth:`sprdiff.latent_codec.codec.LatentCodec.forward`."""


@dataclass(frozen=True)
class LatentOutput:
    """What training needs of one pass through the codec.

    Attributes:
        y_hat: the latent after quantization, in the units of y, (B, M, H, W).
        bits_y, bits_z: estimated bits per image, (B,).
    """

    y_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor


def round_ste(x: Tensor) -> Tensor:
    """x rounded, with the gradient of the identity."""
    return x + (x.round() - x).detach()


def noise_like(x: Tensor) -> Tensor:
    """Uniform noise in [-0.5, 0.5), which stands in for rounding (Ballé et al. 2017, arXiv:1611.01704)."""
    return torch.rand_like(x) - 0.5


def estimate_bits(residual: Tensor, coded: Tensor, scale: Tensor, rate: RateEstimate) -> Tensor:
    """Bits of ``coded``, the residual rounded or with noise; for ``mixed`` with gradients of either kind."""
    if rate != "mixed":
        return gaussian_bits(coded, scale)
    noisy = gaussian_bits(residual + noise_like(residual), scale.detach())
    return gaussian_bits(coded.detach(), scale) + noisy - noisy.detach()
