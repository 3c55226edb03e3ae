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
    """Upsampling by two and a 3 x 3 convolution: (B, C, H, W) to (B, C', 2H, 2W).

    Resize-convolution instead of a transposed convolution, which leaves a regular grid in flat areas
    (Odena et al. 2016, doi:10.23915/distill.00003).

    Args:
        in_channels, out_channels: C and C'.
        mode: ``"nearest"`` is faster and gives every pixel of four weights of its own; with ``"bilinear"``
            features that do not change cannot draw a pattern.
    """

    def __init__(self, in_channels: int, out_channels: int, mode: str = "nearest") -> None:
        super().__init__()
        self.mode = mode
        self.conv = conv3x3(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode=self.mode))


class NoiseInjection(nn.Module):
    """Adds noise to features (B, C, H, W), of an amplitude that the features decide.

    What a decoder cannot know it has to make up, and without randomness it makes up the same pattern in
    every cell (Karras et al. 2019, arXiv:1812.04948).

    Args:
        channels: C.
        stride: pixels that one position stands for; all the noise in them reaches it.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.mix = nn.Conv2d(stride * stride, channels, 1, bias=False)
        # Strong noise and a small amplitude, which so learns eight times as fast as other weights.
        nn.init.normal_(self.mix.weight, std=8 / stride)
        self.amplitude = zero_init(nn.Conv2d(channels, channels, 1))
        nn.init.constant_(self.amplitude.bias, 0.01)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """``noise`` is standard normal, (B, 1, stride * H, stride * W)."""
        return x + self.amplitude(x) * self.mix(F.pixel_unshuffle(noise, self.stride))


def residual_stack(channels: int, depth: int) -> nn.Sequential:
    """``depth`` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels) for _ in range(depth)))
