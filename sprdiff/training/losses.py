"""Losses between pictures beside absolute and squared error."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from pytorch_msssim import ssim
from torch import Tensor, nn

from sprdiff.metrics.deep import dists_network, lpips_network
from sprdiff.training.frozen import Frozen


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

    Artefacts that a discriminator does not penalize show in flat areas such as a sky: speckle, and the grid
    of a decoder that works in blocks. Every difference is weighted by 1 / (1 + activity), the mean absolute
    difference in its neighbourhood of x in units of two levels of 255.

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

    At each position within a cell each channel's error is averaged over 5 x 5 cells. Errors of texture cancel
    there, a grid does not. Without the cells' means, which are no grid.

    Args:
        x_hat, x: pixels (B, 3, H, W) in [-1, 1], sides divisible by ``cell``, at least five cells.
    """
    phases = F.pixel_unshuffle(x_hat - x, cell).unflatten(1, (3, -1))  # (B, 3, cell * cell, H', W')
    phases = phases - phases.mean(2, keepdim=True)
    return F.avg_pool2d(phases.flatten(1, 2), 5, 1).abs().mean()


class PerceptualLoss(nn.Module):
    """LPIPS (VGG-16, arXiv:1801.03924) and DISTS (arXiv:2004.07728) as losses.

    Features are taken in whatever precision autocast says, DISTS's statistics of them in float32. LPIPS with
    AlexNet is in no loss, so that one metric stays independent of the training.

    Raises:
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
    """

    def __init__(self) -> None:
        super().__init__()
        # Copies: those of the metrics stay on their device.
        lpips, dists = copy.deepcopy(lpips_network("vgg")), copy.deepcopy(dists_network())
        self.networks = Frozen({"lpips": lpips, "dists": dists})
        forward_once = dists.forward_once
        # Covariances are small differences of large numbers: bfloat16 would leave nothing of them.
        dists.forward_once = lambda x: [each.float() for each in forward_once(x)]

    def lpips(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Of pixels (B, 3, H, W) in [-1, 1], (B,)."""
        return self.networks["lpips"](x_hat, x).float().flatten()

    def dists(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Of pixels (B, 3, H, W) in [-1, 1], (B,)."""
        return self.networks["dists"](x_hat / 2 + 0.5, x / 2 + 0.5).flatten()
