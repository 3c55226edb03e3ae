"""The coarse reconstruction, from y_hat alone."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import Upsample, conv3x3, residual_stack, zero_init
from sprdiff.layers.klt import from_blocks
from sprdiff.layers.quality import QualityAnchors


class CoarseReconstruction(ModelMixin, ConfigMixin):
    """g_s: x_coarse from y_hat::

        y_hat -> trunk at stride 16 -+-> inverse KLT -----------------(+)--> x_coarse
                                     +-> up to stride 8 and 4, 48 ch. -^

    At stride 4 the correction is folded into 4 x 4 pixel blocks: the mean squared error leaves no grid,
    and the full resolution is never convolved.

    Args:
        latent_channels: M, of y_hat.
        hidden_channels, depth: width and residual blocks of the trunk.
        up_channels, up_depths: the same at stride 8 and 4.
        num_anchors: qualities at which the trunk's bias is learned.
    """

    stride = 16

    @register_to_config
    def __init__(
        self,
        latent_channels: int = 128,
        hidden_channels: int = 192,
        depth: int = 6,
        up_channels: tuple[int, int] = (96, 64),
        up_depths: tuple[int, int] = (1, 2),
        num_anchors: int = 8,
    ) -> None:
        super().__init__()
        self.stem = conv3x3(latent_channels, hidden_channels)
        self.quality_bias = QualityAnchors(torch.zeros(num_anchors, hidden_channels))
        self.trunk = residual_stack(hidden_channels, depth)
        self.to_y = zero_init(conv3x3(hidden_channels, latent_channels))
        self.inverse_klt = nn.Conv2d(latent_channels, 3 * self.stride**2, 1, bias=False)
        c8, c4 = up_channels
        self.to_pixels = nn.Sequential(
            Upsample(hidden_channels, c8),
            residual_stack(c8, up_depths[0]),
            Upsample(c8, c4),
            residual_stack(c4, up_depths[1]),
            nn.SiLU(),
            zero_init(conv3x3(c4, 3 * 4**2)),
        )

    @torch.no_grad()
    def init_from_klt(self, basis: Tensor, rms: Tensor) -> None:
        """Set the linear path.

        Args:
            basis: (M, 768) orthonormal KLT of 16 x 16 blocks, in pixel-unshuffle order.
            rms: (M,) deviation of its coefficients.
        """
        self.inverse_klt.weight.copy_(basis.T[:, :, None, None])
        # The first layer sees coefficients of about equal size.
        self.stem.weight.div_(rms[:, None, None].clamp_min(rms[0] / 50) / rms.mean())

    def forward(self, y_hat: Tensor, quality: Tensor) -> Tensor:
        """x_coarse (B, 3, H, W), about [-1, 1] and not clamped.

        Args:
            y_hat: (B, M, H/16, W/16).
            quality: (B,) in [0, 255].
        """
        # The bias is float32, whatever the precision of the rest.
        features = self.trunk((self.stem(y_hat) + self.quality_bias(quality)).to(y_hat.dtype))
        blocks = self.inverse_klt(y_hat + self.to_y(features))
        return from_blocks(blocks, self.stride) + from_blocks(self.to_pixels(features), 4)

    def linear(self, y_hat: Tensor) -> Tensor:
        """``forward``'s result by the linear path alone: what is left without this module's networks."""
        return from_blocks(self.inverse_klt(y_hat), self.stride)
