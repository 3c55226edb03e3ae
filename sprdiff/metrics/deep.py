"""Distances between the features of pretrained networks. Their weights are fetched at first use."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from sprdiff.metrics.backbones import built_once, cached_weights
from sprdiff.metrics.inputs import Picture, batches

if TYPE_CHECKING:
    import torch

ALEX_SMALLEST_SIDE = 31
"""Pixels: below, AlexNet's second pooling has nothing left to pool."""


def lpips_alex(reference: Picture, image: Picture) -> float:
    """LPIPS 0.1 with AlexNet (Zhang et al. 2018, arXiv:1801.03924), on [-1, 1] as its authors do.

    Lower is better; 0 for identical pictures. Not comparable with the VGG variant.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than ``ALEX_SMALLEST_SIDE``.
        WeightsError: AlexNet's weights are neither in torch's cache nor can they be downloaded.
    """
    first, second = batches(reference, image, top=1, smallest_side=ALEX_SMALLEST_SIDE)
    return _distance(lpips_network("alex"), 2 * first - 1, 2 * second - 1)


def lpips_vgg(reference: Picture, image: Picture) -> float:
    """LPIPS 0.1 with VGG-16; otherwise as ``lpips_alex``, any size from 16 x 16."""
    first, second = batches(reference, image, top=1, smallest_side=16)
    return _distance(lpips_network("vgg"), 2 * first - 1, 2 * second - 1)


def dists(reference: Picture, image: Picture) -> float:
    """DISTS (Ding et al. 2020, arXiv:2004.07728), VGG-16, on [0, 1] at full size, not resized to 256 pixels.

    Lower is better; 0 for identical pictures.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than 16 pixels.
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
    """
    first, second = batches(reference, image, top=1, smallest_side=16)
    return _distance(dists_network(), first, second)


def _distance(network: torch.nn.Module, first: torch.Tensor, second: torch.Tensor) -> float:
    import torch

    with torch.no_grad():
        return network(first, second).item()


@built_once
def lpips_network(net: str) -> torch.nn.Module:
    """LPIPS 0.1 with ``net``, ``alex`` or ``vgg``: (B, 3, H, W) twice, in [-1, 1], to (B, 1, 1, 1).

    Raises:
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
    """
    import lpips
    from torchvision.models import AlexNet_Weights, VGG16_Weights

    weights = {"alex": AlexNet_Weights, "vgg": VGG16_Weights}[net].IMAGENET1K_V1
    _fetch_torchvision(weights.url)
    with warnings.catch_warnings():  # lpips uses an argument that torchvision has deprecated
        warnings.simplefilter("ignore", UserWarning)
        return lpips.LPIPS(net=net, verbose=False).eval()


@built_once
def dists_network() -> torch.nn.Module:
    """DISTS of pyiqa: (B, 3, H, W) twice, in [0, 1], to (B, 1).

    Raises:
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
    """
    import torch
    from pyiqa.archs.dists_arch import DISTS, default_model_urls
    from torchvision.models import VGG16_Weights

    _fetch_torchvision(VGG16_Weights.IMAGENET1K_V1.url)
    path = cached_weights(default_model_urls["url"], "pyiqa")
    network = DISTS(pretrained=False)  # it would print to stdout while loading; so do that here
    learned = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({name: learned[name] for name in ("alpha", "beta")}, strict=False)
    return network.eval()


def _fetch_torchvision(url: str) -> None:
    """Put a file where torchvision finds it; the digits in its name are the beginning of its SHA-256."""
    cached_weights(url, "checkpoints", sha256_prefix=url.rsplit("-", 1)[1].removesuffix(".pth"))
