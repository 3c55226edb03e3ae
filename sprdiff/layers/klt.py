"""The Karhunen-Loève transform of image blocks, the closed form that every transform here starts from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def klt(blocks: Tensor, num_components: int) -> tuple[Tensor, Tensor]:
    """The leading eigenvectors of the blocks' second moment, and the deviation along each.

    Args:
        blocks: (N, D) vectors, zero meaning mid-grey.
        num_components: how many eigenvectors to keep, at most D.
    Returns:
        The orthonormal basis (num_components, D), largest energy first, and the root mean square of the
        coefficients (num_components,). Signs are fixed so that a basis is the same on every machine.
    """
    blocks = blocks.double()
    energies, vectors = torch.linalg.eigh(blocks.T @ blocks / len(blocks))
    basis = vectors.flip(1)[:, :num_components].T
    basis = basis * basis.sum(1, keepdim=True).sign()
    rms = energies.flip(0)[:num_components].clamp_min(1e-12).sqrt()
    return basis.float(), rms.float()


def to_blocks(x: Tensor, size: int) -> Tensor:
    """Pixels as block vectors: (B, 3, H, W) to (B, 3 * size**2, H / size, W / size)."""
    return F.pixel_unshuffle(x, size)


def from_blocks(blocks: Tensor, size: int) -> Tensor:
    """The inverse of :func:`to_blocks`."""
    return F.pixel_shuffle(blocks, size)
