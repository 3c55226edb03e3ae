"""The semantic-oriented encoder: a self-supervised vision transformer (DINOv2, arXiv:2304.07193)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Channel statistics of ImageNet, which DINOv2's weights expect; our own are trained with the same.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def semantic_tokens(encoder: nn.Module, x: Tensor) -> Tensor:
    """The transformer's normalised output tokens, class token first: (B, 1 + H/16 * W/16, D).

    Args:
        encoder: a transformers ``Dinov2Model``, or one with registers (arXiv:2309.16588), of any patch size;
            where that is not 16, the picture is resized so that its tokens lie on the codec's stride-16 grid.
            Registers stand for no place and are left out.
        x: pixels (B, 3, H, W) in [-1, 1], sides divisible by 16.
    """
    patch = encoder.config.patch_size
    mean = torch.tensor(_MEAN, dtype=x.dtype, device=x.device)[:, None, None]
    std = torch.tensor(_STD, dtype=x.dtype, device=x.device)[:, None, None]
    x = ((x + 1) / 2 - mean) / std
    if patch != 16:
        size = (x.shape[-2] // 16 * patch, x.shape[-1] // 16 * patch)
        x = F.interpolate(x, size=size, mode="bicubic", antialias=True)
    tokens = encoder(pixel_values=x).last_hidden_state
    registers = getattr(encoder.config, "num_register_tokens", 0)
    return torch.cat([tokens[:, :1], tokens[:, 1 + registers :]], 1) if registers else tokens


def semantic_features(encoder: nn.Module, x: Tensor) -> Tensor:
    """f_sem: the patch tokens as a map (B, D, H/16, W/16); arguments as in :func:`semantic_tokens`."""
    tokens = semantic_tokens(encoder, x)[:, 1:]
    height, width = x.shape[-2] // 16, x.shape[-1] // 16
    return tokens.transpose(1, 2).unflatten(2, (height, width))
