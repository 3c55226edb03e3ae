"""Dual feature extraction: semantic tokens and pixel features, both computed from the coarse picture.

Encoder and decoder could both make them, but only the decoder does: they cost no bits (arXiv:2606.01608).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from sprdiff.layers.blocks import conv3x3, residual_stack
from sprdiff.layers.klt import to_blocks


class Conditions(NamedTuple):
    """The conditions of the denoiser.

    Attributes:
        tokens: semantic tokens for the cross-attention, class token first, (B, 1 + H/16 * W/16, D).
        semantic_map: the same at their places, (B, S, H/stride, W/stride).
        pixel_features: (B, P, H/stride, W/stride).
    """

    tokens: Tensor
    semantic_map: Tensor
    pixel_features: Tensor

    def to(self, dtype: torch.dtype) -> Conditions:
        """The same in the precision of the denoiser."""
        return Conditions(*(condition.to(dtype) for condition in self))


class DualFeatureExtractor(ModelMixin, ConfigMixin):
    """The diffusion model's conditions from x_coarse and the semantic tokens of x_coarse.

    The denoiser sees the coarse picture through the pixel features alone: beside them it has the tokens and
    latents with much noise added. Their branch is deep, and follows a network that restores pictures in
    stages (:mod:`sprdiff.training.imitation_stage`). Cross-attention has no information on the position of a
    token, so a map of the tokens goes beside the pixel features. Both are of unit variance, the scale of the
    latents: conditions that start small are ignored.

    Args:
        stride: of the VAE's latents, in pixels.
        semantic_channels: of the semantic encoder's tokens.
        token_channels: of the tokens handed to the denoiser's cross-attention.
        mix_depth: residual blocks that let neighbouring tokens see each other.
        map_channels: of the tokens' map.
        pixel_channels: of the pixel features, and of their branch.
        pixel_stages, depth: stages of that branch, and residual blocks in each.
    """

    @register_to_config
    def __init__(
        self,
        stride: int = 4,
        semantic_channels: int = 192,
        token_channels: int = 192,
        mix_depth: int = 1,
        map_channels: int = 32,
        pixel_channels: int = 64,
        pixel_stages: int = 4,
        depth: int = 4,
    ) -> None:
        super().__init__()
        self.semantic = nn.Sequential(
            nn.LayerNorm(semantic_channels),
            nn.Linear(semantic_channels, token_channels),
            nn.GELU(),
            nn.Linear(token_channels, token_channels),
            nn.LayerNorm(token_channels, elementwise_affine=False),
        )
        self.mix = residual_stack(token_channels, mix_depth)
        self.to_map = unit_gain(nn.Conv2d(token_channels, map_channels, 1))
        # Of pixels whose deviation is about one half.
        self.blocks = unit_gain(conv3x3(3 * stride**2, pixel_channels), 2.0)
        self.pixel = nn.ModuleList(residual_stack(pixel_channels, depth) for _ in range(pixel_stages))

    def pixel_features(self, x_coarse: Tensor) -> list[Tensor]:
        """What every stage of the pixel branch gives, (B, P, H/stride, W/stride) each.

        Args:
            x_coarse: (B, 3, H, W) in [-1, 1], sides divisible by ``stride``.
        """
        features = [self.blocks(to_blocks(x_coarse, self.config.stride))]
        for stage in self.pixel:
            features.append(stage(features[-1]))
        return features[1:]

    def forward(self, x_coarse: Tensor, tokens: Tensor) -> Conditions:
        """Semantic tokens, their map, and pixel features.

        Args:
            x_coarse: (B, 3, H, W) in [-1, 1], sides divisible by 16.
            tokens: the semantic encoder's output for x_coarse, (B, 1 + H/16 * W/16, semantic_channels).
        """
        tokens = self.semantic(tokens)
        size = (x_coarse.shape[-2] // 16, x_coarse.shape[-1] // 16)
        grid = self.mix(tokens[:, 1:].transpose(1, 2).unflatten(2, size))
        tokens = torch.cat([tokens[:, :1], grid.flatten(2).transpose(1, 2)], 1)
        stride = self.config.stride
        semantic_map = F.interpolate(self.to_map(grid), scale_factor=16.0 / stride, mode="bilinear")
        return Conditions(tokens, semantic_map, self.pixel_features(x_coarse)[-1])


def drop(conditions: Conditions, tokens: Tensor, pixel_features: Tensor) -> Conditions:
    """``conditions`` with zeros for the pictures that are to go without one.

    Args:
        tokens, pixel_features: which pictures keep them, bool (B,).
    """
    maps, sequence = (tokens[:, None, None, None], tokens[:, None, None])
    return Conditions(
        conditions.tokens * sequence,
        conditions.semantic_map * maps,
        conditions.pixel_features * pixel_features[:, None, None, None],
    )


def unit_gain(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Module:
    """``layer`` with weights that pass on the variance of its input, times the square of ``gain``."""
    nn.init.normal_(layer.weight, std=gain / layer.weight[0].numel() ** 0.5)
    nn.init.zeros_(layer.bias)
    return layer
