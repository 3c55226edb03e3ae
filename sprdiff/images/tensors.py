"""RGB pictures and tensors in [0, 1], and the padding that networks need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch


def to_tensor(image: Image.Image) -> torch.Tensor:
    """The RGB picture as (1, 3, H, W), float32, [0, 1].

    Raises:
        ValueError: the picture is not RGB; ``load_image`` makes it so.
    """
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {image.mode}")
    import torch  # here: arguments are checked, and pictures read, without it

    pixels = torch.from_numpy(np.array(image))  # (H, W, 3), uint8
    return pixels.permute(2, 0, 1)[None].to(torch.float32) / 255


def to_image(x: torch.Tensor) -> Image.Image:
    """The 8-bit RGB picture of a (1, 3, H, W) or (3, H, W) tensor in [0, 1]; values outside are clipped.

    Raises:
        ValueError: another shape, or values that are not finite.
    """
    if x.dim() == 4 and x.shape[0] == 1:
        x = x[0]
    if x.dim() != 3 or x.shape[0] != 3:
        raise ValueError(f"expected a tensor of shape (1, 3, H, W), got {tuple(x.shape)}")
    x = x.detach().cpu().float()
    if not x.isfinite().all():
        raise ValueError("the tensor holds values that are not finite")
    pixels = (x.clamp(0, 1) * 255).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """(B, C, H, W) extended at the right and bottom by replication until ``multiple`` divides H and W."""
    import torch.nn.functional as F

    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def crop_to(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The top left ``size`` (height, width) of (B, C, H, W): undoes ``pad_to_multiple``."""
    height, width = size
    return x[..., :height, :width]
