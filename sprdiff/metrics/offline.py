"""Perceptual metrics without learned weights, as pyiqa implements them, with its default settings.

Each raises ``PackageError`` where pyiqa is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sprdiff.metrics.backbones import BuiltOnce
from sprdiff.metrics.inputs import Picture, UndefinedMetricError, batches, pyiqa_architecture

if TYPE_CHECKING:
    import torch


def cw_ssim(reference: Picture, image: Picture) -> float:
    """Complex-wavelet SSIM (Sampat et al. 2009) of luma, 4 levels, 8 orientations.

    Higher is better; 1 for identical pictures.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than 64 pixels, or the pictures are flat.
    """
    value = _value("cw-ssim", *batches(reference, image, top=1, smallest_side=64))
    if not 0 <= value <= 1 + 1e-6:  # quotient of two vanishing energies
        raise UndefinedMetricError("the pictures have no structure to compare")
    return value


def fsim(reference: Picture, image: Picture) -> float:
    """Feature similarity with colour, FSIMc (Zhang et al. 2011). Higher is better; 1 for identical pictures.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
    """
    return _value("fsim", *batches(reference, image, top=1))


def gmsd(reference: Picture, image: Picture) -> float:
    """Gradient magnitude similarity deviation of luma (Xue et al. 2014, arXiv:1308.3052).

    Lower is better; 0 for identical pictures.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
    """
    return _value("gmsd", *batches(reference, image, top=1))


def _value(name: str, reference: torch.Tensor, image: torch.Tensor) -> float:
    import torch

    with torch.no_grad():
        return _network(name)(image, reference).item()


@BuiltOnce
def _network(name: str) -> torch.nn.Module:
    # The classes, not pyiqa.create_metric: that one logs a line to stderr for each metric.
    builders = {
        "cw-ssim": lambda: pyiqa_architecture("ssim_arch").CW_SSIM(
            channels=1, level=4, ori=8, test_y_channel=True
        ),
        "fsim": lambda: pyiqa_architecture("fsim_arch").FSIM(chromatic=True),
        "gmsd": lambda: pyiqa_architecture("gmsd_arch").GMSD(test_y_channel=True),
    }
    return builders[name]().eval()
