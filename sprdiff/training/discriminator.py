"""The adversary of the diffusion stage: it sees pictures through a pretrained network, and as pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sprdiff.training.frozen import Frozen

Features = list[Tensor]
"""One map for each head of the discriminator."""


class PatchHead(nn.Module):
    """Scores of overlapping patches (PatchGAN, arXiv:1611.07004), spectrally normalised (arXiv:1802.05957).

    Args:
        in_channels: of the picture's and the coarse picture's maps together.
        channels: width of the layers.
        strides: of the first layers; the rest keep the size.
    """

    def __init__(self, in_channels: int, channels: int, strides: tuple[int, ...] = (1, 1)) -> None:
        super().__init__()
        widths = [in_channels, *[channels] * len(strides)]
        layers: list[nn.Module] = []
        for c_in, c_out, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            size = 4 if stride == 2 else 3
            layers += [spectral_norm(nn.Conv2d(c_in, c_out, size, stride, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(channels, 1, 3, padding=1)))

    def forward(self, x: Tensor, x_coarse: Tensor) -> Tensor:
        return self.layers(torch.cat([x, x_coarse], 1))


class ProjectedDiscriminator(nn.Module):
    """Heads on the maps of a frozen ImageNet network (Projected GANs, arXiv:2111.01007), and one on pixels.

    Every head sees the coarse picture's map beside the picture's.

    Args:
        network: a timm model that gives maps at strides 2 to 32; the last one is not looked at.
        pictures: photographs that say how much each channel varies, (N, 3, H, W) in [-1, 1].
        channels: width of the heads.
    """

    def __init__(self, network: nn.Module, pictures: Tensor, channels: int = 64) -> None:
        super().__init__()
        self.network = Frozen({"backbone": network})
        with torch.no_grad():
            maps = network(pictures)[:-1]
        for i, each in enumerate(maps):
            self.register_buffer(f"deviation_{i}", each.float().std((0, 2, 3), keepdim=True).clamp_min(1e-3))
        self.heads = nn.ModuleList(PatchHead(2 * each.shape[1], channels) for each in maps)
        self.pixels = PatchHead(6, channels, (2, 2, 1))

    def features(self, x: Tensor) -> Features:
        """What the heads see of pixels (B, 3, H, W) in [-1, 1]; the last map is the pixels themselves."""
        maps = self.network["backbone"](x)[:-1]
        return [each / getattr(self, f"deviation_{i}") for i, each in enumerate(maps)] + [x]

    def forward(self, features: Features, coarse: Features) -> list[Tensor]:
        """Scores of every head, (B, 1, h, w) float32, high for real."""
        heads = [*self.heads, self.pixels]
        return [head(f, c).float() for head, f, c in zip(heads, features, coarse, strict=True)]


class DiscriminatorObjective(nn.Module):
    """The discriminator's own loss, as one module whose forward several processes can share.

    Args:
        discriminator: trained by it.
    """

    def __init__(self, discriminator: ProjectedDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, real: Tensor, fake: Features, coarse: Features) -> Tensor:
        """The hinge loss.

        Args:
            real: originals (B, 3, H, W) in [-1, 1].
            fake, coarse: features of the pictures that were made, and of the coarse ones.
        """
        with torch.no_grad():
            features = self.discriminator.features(real)
        return hinge_loss(self.discriminator(features, coarse), self.discriminator(fake, coarse))


def hinge_loss(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """The discriminator's loss (arXiv:1705.02894), the mean over its heads."""
    losses = [F.relu(1 - r).mean() + F.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def generator_loss(fake: list[Tensor]) -> Tensor:
    """How far from real each picture's scores are, (B,)."""
    return -torch.stack([scores.mean((1, 2, 3)) for scores in fake]).mean(0)
