"""Convolutional blocks shared by every network of the project."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the spatial size, divided by ``stride``."""
    return nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1)


def zero_init(module: nn.Module) -> nn.Module:
    """``module`` with all its parameters at zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions around a SiLU, added to the input: (B, C, H, W) to (B, C, H, W).

    Without normalisation: at two CPU cores its memory traffic costs as much as the convolutions, and
    the second convolution starts small enough that depth does no harm.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(channels, channels)
        self.conv2 = conv3x3(channels, channels)
        nn.init.normal_(self.conv2.weight, std=1e-3)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by two and a 3 x 3 convolution: (B, C, H, W) to (B, C', 2H, 2W).

    Resize-convolution instead of a transposed convolution, which leaves a regular grid in flat areas
    (Odena et al. 2016, doi:10.23915/distill.00003).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def residual_stack(channels: int, depth: int) -> nn.Sequential:
    """``depth`` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))
