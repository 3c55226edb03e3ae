"""Luma of pixels."""

from __future__ import annotations

from torch import Tensor

# Shares of red, green and blue: BT.601, as everywhere in image coding.
LUMA = (0.299, 0.587, 0.114)


def luma(x: Tensor) -> Tensor:
    """(B, 1, H, W) of RGB pixels (B, 3, H, W), in the same range."""
    return (x * x.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
