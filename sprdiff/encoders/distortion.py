"""The distortion-oriented encoder: the analysis transform of a codec trained for mean squared error."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import conv3x3, residual_stack, zero_init
from sprdiff.layers.klt import to_blocks


class DistortionEncoder(ModelMixin, ConfigMixin):
    """f_dist: the KLT of 16 x 16 blocks and a residual network around it.

    Trained by the ``distortion`` stage as the analysis transform of a plain codec (MSE and rate), then
    frozen. SPRDiff (arXiv:2606.01608) takes a published codec's encoder here.

    Args:
        channels: number of features at stride 16, largest energy first.
        hidden_channels, depth: width and residual blocks of the network.
    """

    stride = 16

    @register_to_config
    def __init__(self, channels: int = 128, hidden_channels: int = 192, depth: int = 3) -> None:
        super().__init__()
        block = 3 * self.stride**2
        self.klt = nn.Conv2d(block, channels, 1, bias=False)
        self.network = nn.Sequential(
            nn.Conv2d(block, hidden_channels, 1),
            residual_stack(hidden_channels, depth),
            nn.SiLU(),
            zero_init(conv3x3(hidden_channels, channels)),
        )

    @torch.no_grad()
    def init_from_klt(self, basis: Tensor) -> None:
        """Set the linear path to an orthonormal ``basis`` (channels, 768), in pixel-unshuffle order."""
        self.klt.weight.copy_(basis[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """f_dist (B, channels, H/16, W/16) of pixels (B, 3, H, W) in [-1, 1]."""
        blocks = to_blocks(x, self.stride)
        return self.klt(blocks) + self.network(blocks)
