"""Losses between pictures beside absolute and squared error."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from torch import Tensor

from sprdiff.layers.colour import luma


def structure_loss(x_hat: Tensor, x: Tensor) -> Tensor:
    """The weighted sum of 1 - SSIM at 1/2 to 1/16 of the size, as MS-SSIM weighs its last four scales.

    A sum, where MS-SSIM (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216) is a product: its gradient is
    infinite as soon as one scale's contrast term is zero. The first scale has 4 % of the weight and takes
    three quarters of the time.

    Args:
        x_hat, x: pixels (B, 3, H, W) in [-1, 1], sides at least 16.
    """
    # Seven pixels, or as many as the smallest scale holds, but an odd number.
    window = min(7, (min(x.shape[-2:]) // 16 - 1) | 1)
    loss = x.new_zeros(())
    # Variances are small differences of large numbers: bfloat16 would leave nothing of them.
    with torch.autocast(x.device.type, enabled=False):
        x_hat, x = x_hat.float() / 2 + 0.5, x.float() / 2 + 0.5
        for weight in (0.2856, 0.3001, 0.2363, 0.1333):
            x_hat, x = F.avg_pool2d(x_hat, 2), F.avg_pool2d(x, 2)
            loss = loss + weight * (1 - ssim(x_hat, x, data_range=1.0, win_size=window))
    return loss


def flat_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """The mean absolute error of differences between neighbours, where x is flat.

    What an adversary does not mind is plain to see on a sky: speckle, and the grid of a decoder that
    works in blocks. Every difference is weighted by 1 / (1 + activity), the mean absolute difference in
    its neighbourhood of x in units of two levels of 255.

    Args:
        x_hat, x: pixels (B, 3, H, W) in [-1, 1].
    """
    total = x.new_zeros(())
    for dim in (-1, -2):
        differences = x.diff(dim=dim)
        activity = F.avg_pool2d(differences.abs().mean(1, keepdim=True), 9, 1, 4) * (127.5 / 2)
        weight = 1 / (1 + activity)
        total = total + (weight * (x_hat.diff(dim=dim) - differences).abs()).mean()
    return total


def grid_error(x_hat: Tensor, x: Tensor, cell: int) -> Tensor:
    """How much of the error repeats from cell to cell: the mark of a decoder that draws cell by cell.

    At each position within a cell the error is averaged over 5 x 5 cells. Errors of texture cancel there, a
    grid does not. Without the cells' means, which are no grid.

    Args:
        x_hat, x: pixels (B, 3, H, W) in [-1, 1], sides divisible by ``cell``, at least five cells.
    """
    phases = F.pixel_unshuffle((x_hat - x).mean(1, keepdim=True), cell)  # (B, cell * cell, H', W')
    phases = phases - phases.mean(1, keepdim=True)
    return F.avg_pool2d(phases, 5, 1).abs().mean()


def patch_distribution_loss(x_hat: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """How much the small patches of two pictures differ as sets, in windows of up to 32 x 32 positions.

    Texture that lies elsewhere than in the original costs nothing here; texture that is too weak, too strong
    or of another kind does: blur, but dots and screens as well. Sliced Wasserstein distance (Elnekave and
    Weiss 2022, arXiv:2203.11862): in three octaves of a Laplacian pyramid of luma, patches of 5 x 5 are
    projected on random directions, new ones at each call, and the sorted projections compared.

    Args:
        x_hat, x: pixels (B, 3, H, W) in [-1, 1], sides at least 32 and divisible by 8.
        weight: of each picture, (B,).
    """
    patch, directions = 5, 4
    loss = x.new_zeros(())
    with torch.autocast(x.device.type, enabled=False):
        pair = luma(torch.cat([x_hat.float(), x.float()]))
        for _ in range(3):
            low = F.avg_pool2d(pair, 2)
            band = pair - F.interpolate(low, scale_factor=2.0, mode="bilinear")
            filters = torch.randn(directions, 1, patch, patch, device=x.device)
            projected = F.conv2d(band, filters / filters.flatten(1).norm(dim=1)[:, None, None, None])
            sides = projected.shape[-2:]
            window = min(32, *sides)
            rows, columns = (side // window for side in sides)
            # At a random place, so that no border of a window lies anywhere for long.
            top, left = (int(torch.randint(side % window + 1, ())) for side in sides)
            inside = projected[..., top : top + rows * window, left : left + columns * window]
            windows = inside.unflatten(-1, (columns, window)).unflatten(-3, (rows, window))
            ordered = windows.transpose(-3, -2).flatten(-2).sort(dim=-1).values
            fake, real = ordered.chunk(2)
            loss = loss + ((fake - real).abs().mean((1, 2, 3, 4)) * weight).mean()
            pair = low
    return loss
