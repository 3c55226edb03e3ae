"""The adversary of the diffusion stage: a patch discriminator that sees the coarse picture too."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sprdiff.layers.colour import LUMA

# Luma, and two colour differences: the adversary judges colour at a quarter of the weight, or it
# rewards coloured speckle.
_TO_YUV = torch.tensor([LUMA, [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
_COLOUR_WEIGHT = 0.25


def luma_first(x: Tensor) -> Tensor:
    """RGB (B, 3, H, W) in [-1, 1] as luma and weakened colour differences."""
    yuv = torch.einsum("ij,bjhw->bihw", _TO_YUV.to(x), x)
    return yuv * yuv.new_tensor([1.0, _COLOUR_WEIGHT, _COLOUR_WEIGHT])[:, None, None]


class PatchDiscriminator(nn.Module):
    """Scores of overlapping patches, conditioned on the coarse picture (PatchGAN, arXiv:1611.07004).

    Spectral normalisation (arXiv:1802.05957) keeps it stable with small batches.

    Args:
        channels: width after the first layer; doubled twice.
    """

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        widths = [6, channels, 2 * channels, 4 * channels, 4 * channels]
        # The first layer sees a four by four pixel window and halves the size, and so on to stride 8.
        strides = [2, 2, 2, 1]
        self.layers = nn.ModuleList(
            spectral_norm(nn.Conv2d(c_in, c_out, 4 if stride == 2 else 3, stride=stride, padding=1))
            for c_in, c_out, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.head = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, x: Tensor, x_coarse: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores (B, 1, H/8, W/8), high for real, and the features of every layer."""
        h = torch.cat([luma_first(x), luma_first(x_coarse)], 1)
        features = []
        for layer in self.layers:
            h = F.leaky_relu(layer(h), 0.2)
            features.append(h)
        return self.head(h), features


def hinge_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss (arXiv:1705.02894)."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()
