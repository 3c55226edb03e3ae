"""Dual feature extraction: semantic tokens and pixel features, both computed from the coarse picture.

Encoder and decoder could both make them, but only the decoder does: they cost no bits (arXiv:2606.01608).
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import conv3x3, residual_stack
from sprdiff.layers.klt import to_blocks


class Conditions(NamedTuple):
    """What the denoiser is told.

    Attributes:
        tokens: semantic tokens for the cross-attention, class token first, (B, 1 + H/16 * W/16, D).
        semantic_map: the same at their places, (B, S, H/8, W/8).
        pixel_features: (B, P, H/8, W/8).
    """

    tokens: Tensor
    semantic_map: Tensor
    pixel_features: Tensor


class DualFeatureExtractor(ModelMixin, ConfigMixin):
    """The diffusion model's conditions from x_coarse and the semantic tokens of x_coarse.

    All are normalised to unit variance, the scale of the latents beside which the denoiser reads them:
    left to themselves they start so small that it learns to do without. Cross-attention does not know where a
    token lies, so a map of the tokens goes beside the pixel features.

    Args:
        semantic_channels: of the semantic encoder's tokens.
        token_channels: of the tokens handed to the denoiser's cross-attention.
        map_channels: of the tokens' map at stride 8.
        pixel_channels: of the pixel features at stride 8.
        hidden_channels, depth: width and residual blocks of the pixel branch.
    """

    @register_to_config
    def __init__(
        self,
        semantic_channels: int = 192,
        token_channels: int = 192,
        map_channels: int = 16,
        pixel_channels: int = 32,
        hidden_channels: int = 96,
        depth: int = 2,
    ) -> None:
        super().__init__()
        self.semantic = nn.Sequential(
            nn.LayerNorm(semantic_channels),
            nn.Linear(semantic_channels, token_channels),
            nn.GELU(),
            nn.Linear(token_channels, token_channels),
            nn.LayerNorm(token_channels, elementwise_affine=False),
        )
        self.to_map = nn.Linear(token_channels, map_channels)
        self.map_norm = nn.GroupNorm(1, map_channels, affine=False)
        self.pixel = nn.Sequential(
            nn.Conv2d(3 * 4**2, hidden_channels, 1),
            conv3x3(hidden_channels, hidden_channels, stride=2),
            residual_stack(hidden_channels, depth),
            nn.SiLU(),
            conv3x3(hidden_channels, pixel_channels),
            nn.GroupNorm(1, pixel_channels, affine=False),
        )

    def forward(self, x_coarse: Tensor, tokens: Tensor) -> Conditions:
        """Semantic tokens, their map, and pixel features.

        Args:
            x_coarse: (B, 3, H, W) in [-1, 1], sides divisible by 16.
            tokens: the semantic encoder's output for x_coarse, (B, 1 + H/16 * W/16, semantic_channels).
        """
        tokens = self.semantic(tokens)
        height, width = x_coarse.shape[-2] // 16, x_coarse.shape[-1] // 16
        semantic_map = self.to_map(tokens[:, 1:]).transpose(1, 2).unflatten(2, (height, width))
        semantic_map = F.interpolate(self.map_norm(semantic_map), scale_factor=2.0, mode="bilinear")
        return Conditions(tokens, semantic_map, self.pixel(to_blocks(x_coarse, 4)))
