"""Presets: the sizes of every part. A checkpoint carries its own in the ``config.json`` of each part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Constructor arguments of each part; what is not named takes the part's own default.

    Attributes:
        vae, distortion_encoder, semantic_encoder, fusion, latent_codec, coarse, conditions, unet,
            scheduler: keyword arguments of the parts, by part.
    """

    vae: dict[str, Any] = field(default_factory=dict)
    distortion_encoder: dict[str, Any] = field(default_factory=dict)
    semantic_encoder: dict[str, Any] = field(default_factory=dict)
    fusion: dict[str, Any] = field(default_factory=dict)
    latent_codec: dict[str, Any] = field(default_factory=dict)
    coarse: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)


TINY = ModelConfig(
    semantic_encoder={
        "hidden_size": 192,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "mlp_ratio": 4,
        "image_size": 224,
        "patch_size": 16,
        "drop_path_rate": 0.0,
    },
    fusion={"vae_channels": 24 * 4**2},
    conditions={"depth": 9},
    unet={
        # Noisy latents, pixel features, the map of the semantic tokens.
        "in_channels": 24 + 64 + 32,
        "out_channels": 24,
        # At strides 4, 8, 16 and 32; attention where it is cheap.
        "block_out_channels": (64, 128, 192, 192),
        "layers_per_block": (2, 2, 1, 1),
        "down_block_types": ("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        "mid_block_type": None,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 192,
        "attention_head_dim": 4,  # diffusers' name for the number of heads
        "norm_num_groups": 16,
        "transformer_layers_per_block": 1,
    },
    scheduler={
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "sample",
        "clip_sample": False,
    },
)
PRESETS: dict[str, ModelConfig] = {"tiny": TINY}
"""By name. The paper-scale preset joins when its parts can be trained; see README."""
