"""A pipeline of tiny random parts, for tests of wiring that need no trained weights."""

from __future__ import annotations

import torch

from sprdiff.checkpoint.config import ModelConfig
from sprdiff.checkpoint.parts import PART_CLASSES, build_part
from sprdiff.layers.klt import klt, to_blocks
from sprdiff.pipeline import SPRDiffPipeline
from sprdiff.training.qualities import QualityRange

SMALL = ModelConfig(
    vae={"stride": 4, "latent_channels": 8, "encoder_channels": 16, "encoder_depth": 1,
         "decoder_channels": 16, "decoder_depth": 1, "pixel_channels": 4},
    distortion_encoder={"channels": 24, "hidden_channels": 16, "depth": 1},
    semantic_encoder={"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_ratio": 2,
                      "image_size": 64, "patch_size": 16, "drop_path_rate": 0.0},
    fusion={"vae_channels": 8 * 4**2, "distortion_channels": 24, "semantic_channels": 24,
            "latent_channels": 24, "hidden_channels": 16, "depth": 1},
    latent_codec={"latent_channels": 24, "slices": (4, 8, 12), "hyper_channels": 4, "feature_channels": 12,
                  "hidden_channels": 16, "num_anchors": 3},
    coarse={"latent_channels": 24, "hidden_channels": 16, "depth": 1, "up_channels": (8, 8),
            "up_depths": (1, 1), "num_anchors": 3},
    conditions={"stride": 4, "semantic_channels": 24, "token_channels": 16, "mix_depth": 1, "map_channels": 4,
                "pixel_channels": 12, "pixel_stages": 4, "depth": 1},
    unet={"in_channels": 8 + 12 + 4, "out_channels": 8, "block_out_channels": (8, 8, 16, 16),
          "layers_per_block": 1,
          "down_block_types": ("DownBlock2D", "DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
          "mid_block_type": None,
          "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
          "cross_attention_dim": 16, "attention_head_dim": 2, "norm_num_groups": 4},
    scheduler={"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
               "beta_end": 0.012, "prediction_type": "sample", "clip_sample": False},
)  # fmt: skip


def small_part(name: str, seed: int = 0):
    """A random part of the small configuration; zero-initialised layers get random weights too."""
    torch.manual_seed(seed)
    part = build_part(name, SMALL)
    if isinstance(part, torch.nn.Module):
        with torch.no_grad():
            for parameter in part.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.02)
        part.eval()
    return part


def small_pipeline(seed: int = 0) -> SPRDiffPipeline:
    """A whole random pipeline; its transforms start from the KLT of a smooth random field."""
    torch.manual_seed(seed)
    parts = {name: small_part(name, seed) for name in PART_CLASSES}
    field = torch.nn.functional.interpolate(torch.rand(8, 3, 24, 24) * 2 - 1, size=(192, 192), mode="bicubic")
    blocks = to_blocks(field, 16).permute(0, 2, 3, 1).flatten(0, 2)
    basis, rms = klt(blocks, 24)
    vae_blocks = to_blocks(field, 4).permute(0, 2, 3, 1).flatten(0, 2)
    parts["vae"].init_from_klt(*klt(vae_blocks, 8))
    parts["distortion_encoder"].init_from_klt(basis)
    parts["latent_codec"].init_from_statistics(rms, QualityRange().step_sizes(3))
    parts["coarse"].init_from_klt(basis, rms)
    return SPRDiffPipeline(**parts)
