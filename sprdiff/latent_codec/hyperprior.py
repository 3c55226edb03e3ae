"""The hyperprior: h_a summarizes y in z, h_s turns z_hat into features for the entropy parameters of y."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sprdiff.layers.blocks import conv3x3
from sprdiff.layers.fixed_point import FRACTION_BITS, MAX_ACTIVATION, FixedPointNet
from sprdiff.layers.quality import MAX_QUALITY, QualityAnchors


class HyperAnalysis(nn.Module):
    """h_a: y at stride 16, scaled by its gain, to z at stride 64 (Ballé et al. 2018, arXiv:1802.01436)."""

    def __init__(self, latent_channels: int, hidden_channels: int, hyper_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv3x3(latent_channels, hidden_channels),
            nn.SiLU(),
            conv3x3(hidden_channels, hidden_channels, stride=2),
            nn.SiLU(),
            conv3x3(hidden_channels, hidden_channels, stride=2),
            nn.SiLU(),
            conv3x3(hidden_channels, hyper_channels),
        )
        # z starts with about unit deviation: a z that rounds to zero everywhere carries no information.
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        with torch.no_grad():
            self.layers[-1].weight.mul_(12)

    def forward(self, y_scaled: Tensor) -> Tensor:
        """z (B, N, H/64, W/64) of the scaled latent (B, M, H/16, W/16)."""
        # Large symbols are rare; the logarithm keeps them from dominating the summary.
        return self.layers(torch.sign(y_scaled) * torch.log1p(y_scaled.abs()))


class HyperSynthesis(nn.Module):
    """h_s: z_hat at stride 64 and the quality to features at stride 16; runs in fixed point for coding."""

    def __init__(self, hyper_channels: int, hidden_channels: int, num_anchors: int) -> None:
        super().__init__()
        wide = 2 * hidden_channels
        self.net = FixedPointNet(
            [hyper_channels, 4 * hidden_channels, 4 * hidden_channels, wide, hidden_channels],
            [3, 3, 3, 3],
            shuffles=(0, 1),
        )
        self.quality_bias = QualityAnchors(torch.zeros(num_anchors, hidden_channels))

    def forward(self, z_hat: Tensor, quality: Tensor) -> Tensor:
        """Features (B, C, H/16, W/16) of z_hat (B, N, H/64, W/64) and quality (B,)."""
        return F.relu(self.net(z_hat) + self.quality_bias(quality))

    def largest_sums(self, largest: float) -> Iterator[tuple[str, float]]:
        """Name and largest sum of every layer of ``fixed``; ``largest`` is that of z_hat, in fixed point."""
        for name, value in self.net.largest_sums(
            torch.full((self.net.layers[0].in_channels,), largest).double()
        ):
            yield f"net.{name}", value
        yield "quality_bias", self.quality_bias.largest_sum()

    def largest_feature(self) -> float:
        """What a feature of ``fixed`` cannot exceed."""
        return MAX_ACTIVATION + self.quality_bias.largest_sum() / MAX_QUALITY

    def fixed(self, z_hat: Tensor, quality: int) -> Tensor:
        """The same in fixed point; z_hat float64 integers, the symbols themselves."""
        return F.relu(self.net.fixed(z_hat * 2.0**FRACTION_BITS) + self.quality_bias.fixed(quality))
