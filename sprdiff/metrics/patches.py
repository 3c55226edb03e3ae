"""Distances between two sets of pictures: FID and KID over patches of 256 pixels.

Whole photographs are too few and too large for Inception, so each is cut into patches, as Mentzer et al.
(2020, arXiv:2006.09965) do and most papers on generative codecs after them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sprdiff.errors import WeightsError
from sprdiff.metrics.backbones import BuiltOnce
from sprdiff.metrics.download import cached_weights
from sprdiff.metrics.inputs import Picture, UndefinedMetricError, pixels

if TYPE_CHECKING:
    import torch

PATCH_SIDE = 256
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
_BATCH = 8


@dataclass(frozen=True)
class SetMetric:
    """One metric of two sets and how to show it; lower is better.

    Attributes:
        id: lower kebab case.
        label: for tables and axes.
        decimals: digits after the point that mean something.
        function: ``(features of the originals, features of the pictures) -> float``.
    """

    id: str
    label: str
    decimals: int
    function: Callable[[torch.Tensor, torch.Tensor], float]


def patches(picture: Picture) -> np.ndarray:
    """Every patch from the upper left corner on without overlap, and again from half a patch further.

    Args:
        picture: RGB, PIL image or (H, W, 3) uint8.
    Returns:
        (N, 3, 256, 256), uint8; what does not fill a patch at the right and lower edge is left out.
    Raises:
        ValueError: not 8-bit RGB.
        UndefinedMetricError: a side is shorter than a patch.
    """
    array, _ = pixels(picture, picture)
    height, width, _ = array.shape
    if min(height, width) < PATCH_SIDE:
        raise UndefinedMetricError(
            f"needs at least {PATCH_SIDE} pixels a side, a picture has {min(height, width)}"
        )
    found = [
        array[top : top + PATCH_SIDE, left : left + PATCH_SIDE]
        for origin in (0, PATCH_SIDE // 2)
        for top in range(origin, height - PATCH_SIDE + 1, PATCH_SIDE)
        for left in range(origin, width - PATCH_SIDE + 1, PATCH_SIDE)
    ]
    return np.stack(found).transpose(0, 3, 1, 2)


def patch_features(picture: Picture) -> torch.Tensor:
    """Inception's pooled features of the picture's patches, (N, 2048).

    Raises:
        ValueError, UndefinedMetricError: as ``patches``.
        WeightsError: Inception's weights are neither in torch's cache nor can they be downloaded.
    """
    import torch

    cut = torch.from_numpy(patches(picture))
    network = _inception()
    with torch.no_grad():
        return torch.cat([network(batch)[0] for batch in cut.split(_BATCH)])


def fid(originals: torch.Tensor, others: torch.Tensor) -> float:
    """Fréchet Inception distance (Heusel et al. 2017, arXiv:1706.08500) of features, (N, 2048) each.

    Lower is better. It depends on the number of patches: compare only values over the same images.

    Raises:
        UndefinedMetricError: fewer than two patches.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_features_as_they_are(originals.shape[1]))
    return _update(metric, originals, others).item()


def kid(originals: torch.Tensor, others: torch.Tensor) -> float:
    """Kernel Inception distance (Bińkowski et al. 2018, arXiv:1801.01401) of features, (N, 2048) each.

    Lower is better; the mean over 100 subsets of 1000 patches, the same ones every time, or over all patches
    where there are fewer.

    Raises:
        UndefinedMetricError: fewer than two patches.
    """
    import torch
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SUBSET_SIZE, len(originals), len(others))
    # All subsets of everything are the same one.
    subsets = 1 if size == len(originals) == len(others) else KID_SUBSETS
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features
        torch.manual_seed(0)
        metric = KernelInceptionDistance(
            feature=_features_as_they_are(originals.shape[1]), subsets=subsets, subset_size=max(1, size)
        )
        return _update(metric, originals.double(), others.double())[0].item()


SET_METRICS = {
    metric.id: metric for metric in (SetMetric("fid", "FID", 2, fid), SetMetric("kid", "KID", 5, kid))
}
"""Metrics over all pictures of a method and budget, by id."""


def _update(metric: torch.nn.Module, originals: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    if min(len(originals), len(others)) < 2:
        raise UndefinedMetricError("needs at least two patches")
    metric.update(originals, real=True)
    metric.update(others, real=False)
    return metric.compute()


def _features_as_they_are(count: int) -> torch.nn.Module:
    """Stands where torchmetrics would put Inception, whose features are computed once for both metrics."""
    import torch

    network = torch.nn.Identity()
    network.num_features = count
    return network


@BuiltOnce
def _inception() -> torch.nn.Module:
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

    path = cached_weights(URL_INCEPTION_V3, "checkpoints")
    try:
        # torch-fidelity unpickles whatever it is given; what passes here holds tensors and nothing else.
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken pickle raises nearly anything
        raise WeightsError(f"{path.name} is not a file of weights ({error})") from error
    return FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(path)).eval()
