"""Discretized Gaussians: differentiable rates for training, and the integer tables that code with them."""

from __future__ import annotations

import math

import torch
from compressai._CXX import pmf_to_quantized_cdf
from torch import Tensor

NUM_SCALES = 64
MIN_SCALE = 0.1
MAX_SCALE = 64.0
LOG_SCALE_STEP = math.log(MAX_SCALE / MIN_SCALE) / (NUM_SCALES - 1)
PRECISION = 16
# Tails beyond this many deviations are coded by the escape symbol.
_TAIL = 5.0


def scale_of(index: Tensor) -> Tensor:
    """The standard deviation for a real-valued scale index; the table holds the integer ones."""
    return MIN_SCALE * torch.exp(index * LOG_SCALE_STEP)


def index_of(scale: Tensor) -> Tensor:
    """The real-valued scale index of a standard deviation; the inverse of :func:`scale_of`."""
    return torch.log(scale / MIN_SCALE) / LOG_SCALE_STEP


def gaussian_bits(residual: Tensor, scale: Tensor) -> Tensor:
    """Bits of a residual under a zero-mean Gaussian convolved with a unit interval.

    Args:
        residual: any shape, integers or integers plus noise, float32.
        scale: standard deviations, the same shape.
    Returns:
        -log2 of the probability of [residual - 0.5, residual + 0.5], differentiable also in the tails.
    Reference: Ballé et al. 2018, arXiv:1802.01436.
    """
    magnitude = residual.abs()
    upper = torch.special.log_ndtr((0.5 - magnitude) / scale)
    lower = torch.special.log_ndtr((-0.5 - magnitude) / scale)
    log_probability = upper + torch.log1p(-torch.exp((lower - upper).clamp(max=-1e-6)))
    return log_probability * (-1 / math.log(2))


def build_tables() -> tuple[Tensor, Tensor, Tensor]:
    """Cumulative tables for every scale of the grid.

    Built once, when a codec is created for training, and stored in its checkpoint as integers: tables
    rebuilt from floats could differ between machines.

    Returns:
        ``cdfs`` (64, L) int32, each row rising from 0 to 2**16 over the symbols -R..R and an escape;
        ``cdf_lengths`` (64,) int32, used entries of each row; ``offsets`` (64,) int32, -R.
    """
    rows, lengths, offsets = [], [], []
    for index in range(NUM_SCALES):
        scale = scale_of(torch.tensor(float(index), dtype=torch.float64))
        radius = max(1, math.ceil(_TAIL * float(scale)))
        symbols = torch.arange(-radius, radius + 1, dtype=torch.float64)
        bits = gaussian_bits(symbols, scale.expand_as(symbols))
        pmf = torch.exp2(-bits)
        escape = (1 - pmf.sum()).clamp_min(1e-9)
        cdf = pmf_to_quantized_cdf([*pmf.tolist(), float(escape)], PRECISION)
        rows.append(cdf)
        lengths.append(len(cdf))
        offsets.append(-radius)
    width = max(lengths)
    cdfs = torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.int32)
    return cdfs, torch.tensor(lengths, dtype=torch.int32), torch.tensor(offsets, dtype=torch.int32)
