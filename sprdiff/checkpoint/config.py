"""Presets: the sizes of every part. A checkpoint carries its own in the ``config.json`` of each part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Constructor arguments of each part; what is not named takes the part's own default.

    Attributes:
        classes: class of a part, by part, where it is not the first of ``parts.PART_CLASSES``.
        vae, distortion_encoder, semantic_encoder, fusion, latent_codec, coarse, conditions, unet,
            scheduler: keyword arguments of the parts, by part.
    """

    classes: dict[str, str] = field(default_factory=dict)
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
# The paper's scale: its triple encoder and its U-Net are published networks, whose sizes these are
# (sprdiff.training.pretrained brings their weights); the parts between them are ours.
BASE = ModelConfig(
    classes={"vae": "AutoencoderKL", "distortion_encoder": "ZooEncoder"},
    # stabilityai/sd-turbo, vae
    vae={
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 32,
        "sample_size": 768,
        "scaling_factor": 0.18215,
    },
    distortion_encoder={"architecture": "cheng2020-anchor", "quality": 6},
    # facebook/dinov2-base
    semantic_encoder={
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "mlp_ratio": 4,
        "image_size": 518,
        "patch_size": 14,
    },
    fusion={
        "vae_channels": 4 * 2**2,
        "distortion_channels": 192,
        "semantic_channels": 768,
        "latent_channels": 192,
        "hidden_channels": 384,
        "depth": 6,
    },
    latent_codec={
        "latent_channels": 192,
        "slices": (8, 16, 40, 128),
        "hyper_channels": 32,
        "feature_channels": 192,
        "hidden_channels": 224,
    },
    coarse={
        "latent_channels": 192,
        "hidden_channels": 384,
        "depth": 10,
        "up_channels": (192, 128),
        "up_depths": (2, 4),
    },
    conditions={
        "stride": 8,
        "semantic_channels": 768,
        "token_channels": 1024,
        "map_channels": 64,
        "pixel_channels": 192,
        "depth": 4,
    },
    # stabilityai/sd-turbo, unet; its first layer sees the conditions beside the four latents.
    unet={
        "in_channels": 4 + 192 + 64,
        "out_channels": 4,
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),  # diffusers' name for the number of heads
        "use_linear_projection": True,
        "norm_num_groups": 32,
    },
    scheduler={
        "num_train_timesteps": 1000,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "epsilon",
        "clip_sample": False,
    },
)
PRESETS: dict[str, ModelConfig] = {"tiny": TINY, "base": BASE}
