"""Distances between the features of pretrained networks. Their weights are fetched at first use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sprdiff.metrics.backbones import Backbone, BuiltOnce, backbone_file, torchvision_gives
from sprdiff.metrics.download import cached_weights
from sprdiff.metrics.inputs import Picture, batches, pyiqa_architecture

if TYPE_CHECKING:
    import torch

Net = Literal["alex", "vgg"]
"""LPIPS's names of its networks."""

_BACKBONES: dict[Net, Backbone] = {"alex": "alexnet", "vgg": "vgg16"}

ALEX_SMALLEST_SIDE = 31
"""Pixels: below, AlexNet's second pooling has nothing left to pool."""

REMEMBERED_PIXELS = 1 << 19
"""The features of a larger reference are not kept: with VGG-16 they take 488 bytes a pixel."""


def lpips_alex(reference: Picture, image: Picture) -> float:
    """LPIPS 0.1 with AlexNet (Zhang et al. 2018, arXiv:1801.03924), on [-1, 1] as its authors do.

    Lower is better; 0 for identical pictures. Not comparable with the VGG variant.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than ``ALEX_SMALLEST_SIDE``.
        WeightsError: AlexNet's weights are neither in torch's cache nor can they be downloaded.
    """
    first, second = batches(reference, image, top=1, smallest_side=ALEX_SMALLEST_SIDE)
    return _lpips("alex", first, second)


def lpips_vgg(reference: Picture, image: Picture) -> float:
    """LPIPS 0.1 with VGG-16; otherwise as ``lpips_alex``, any size from 16 x 16."""
    first, second = batches(reference, image, top=1, smallest_side=16)
    return _lpips("vgg", first, second)


def dists(reference: Picture, image: Picture) -> float:
    """DISTS (Ding et al. 2020, arXiv:2004.07728), VGG-16, on [0, 1] at full size, not resized to 256 pixels.

    Lower is better; 0 for identical pictures.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than 16 pixels.
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
        PackageError: pyiqa is not installed.
    """
    first, second = batches(reference, image, top=1, smallest_side=16)
    import torch

    network = dists_network()
    with torch.no_grad():
        network.forward_once.remember(first)
        return network(first, second).item()


def _lpips(net: Net, first: torch.Tensor, second: torch.Tensor) -> float:
    """Of pictures (1, 3, H, W) in [0, 1]."""
    import torch

    network = lpips_network(net)
    first, second = 2 * first - 1, 2 * second - 1
    with torch.no_grad():
        network.net.forward.remember(network.scaling_layer(first))
        return network(first, second).item()


_reduced: ContextVar[bool] = ContextVar("reduced", default=False)


def reduced_dtype() -> Literal["bfloat16", "float32"]:
    """In what most of VGG-16 runs within ``reduced_precision`` on this processor."""
    import torch

    return "bfloat16" if torch.cpu.get_capabilities().get("amx_bf16", False) else "float32"


@contextmanager
def reduced_precision() -> Iterator[None]:
    """Within, all but the first layer of VGG-16 runs in bfloat16, where the processor has AMX tiles for that.

    It takes half the time and moved LPIPS (VGG) and DISTS by at most 0.0005
    (``benchmarks/metric_precision.py``). The first layer stays float32: in bfloat16 a pixel is off by up to
    half a level, and LPIPS of blurred pictures was by 0.0017. For whoever waits: what is published is in
    float32.
    """
    token = _reduced.set(reduced_dtype() == "bfloat16")
    try:
        yield
    finally:
        _reduced.reset(token)


def _reduce_vgg(blocks: Sequence[torch.nn.Sequential]) -> None:
    """Lets the five blocks of a VGG-16 run in bfloat16 within ``reduced_precision``; outputs are float32."""
    second_layer = blocks[0][2]
    for stage in (second_layer, *blocks[1:]):
        # A partial, as deepcopy could not copy a closure.
        stage.forward = functools.partial(_forward, stage.forward)


def _forward(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    import torch

    if not _reduced.get():
        return forward(x)
    with torch.autocast("cpu", torch.bfloat16):
        return forward(x).float()


class ReferenceFeatures:
    """A network's feature extractor that keeps those of a reference.

    A comparison measures many pictures against one original, and these networks take most of its time: half
    of it is saved where the original goes through them only once.

    Args:
        extract: features of pictures (B, 3, H, W).
    """

    def __init__(self, extract: Callable[[torch.Tensor], Any]) -> None:
        self.extract = extract
        self.kept: tuple[torch.Tensor, bool, Any] | None = None

    def remember(self, reference: torch.Tensor) -> None:
        """Keep the features of a reference (1, 3, H, W), unless they are kept already or it is too large."""
        if not self._kept(reference):
            small = reference.shape[-2] * reference.shape[-1] <= REMEMBERED_PIXELS
            self.kept = (reference, _reduced.get(), self.extract(reference)) if small else None

    def __call__(self, x: torch.Tensor) -> Any:
        kept = self._kept(x)
        return kept[2] if kept else self.extract(x)

    def _kept(self, x: torch.Tensor) -> tuple[torch.Tensor, bool, Any] | None:
        kept = self.kept  # read once: another thread may measure against another reference
        return kept if kept is not None and kept[1] == _reduced.get() and kept[0].equal(x) else None


@BuiltOnce
def lpips_network(net: Net) -> torch.nn.Module:
    """LPIPS 0.1 with ``net``: (B, 3, H, W) twice, in [-1, 1], to (B, 1, 1, 1).

    Raises:
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
    """
    import lpips

    with torchvision_gives(lpips.pretrained_networks, "tv", _BACKBONES[net]):
        network = lpips.LPIPS(net=net, verbose=False).eval()
    if net == "vgg":
        _reduce_vgg([getattr(network.net, f"slice{block}") for block in range(1, 6)])
    network.net.forward = ReferenceFeatures(network.net.forward)
    return network


@BuiltOnce
def dists_network() -> torch.nn.Module:
    """DISTS of pyiqa: (B, 3, H, W) twice, in [0, 1], to (B, 1).

    Raises:
        WeightsError: the weights are neither in torch's cache nor can they be downloaded.
        PackageError: pyiqa is not installed.
    """
    import torch

    pyiqa = pyiqa_architecture("dists_arch")
    with torchvision_gives(pyiqa, "models", "vgg16"):
        network = pyiqa.DISTS(pretrained=False)  # it would print to stdout while loading; so do that here
    path = dists_file()
    learned = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict({name: learned[name] for name in ("alpha", "beta")}, strict=False)
    _reduce_vgg([getattr(network, f"stage{block}") for block in range(1, 6)])
    network.forward_once = ReferenceFeatures(network.forward_once)
    return network.eval()


def dists_file() -> Path:
    """The file with the weights that DISTS gives to each channel.

    Raises:
        WeightsError: it is neither in torch's cache nor can it be downloaded.
        PackageError: pyiqa is not installed.
    """
    return cached_weights(pyiqa_architecture("dists_arch").default_model_urls["url"], "pyiqa")


WEIGHTS: dict[str, tuple[Callable[[], Path], ...]] = {
    "lpips-alex": (functools.partial(backbone_file, "alexnet"),),
    "lpips-vgg": (functools.partial(backbone_file, "vgg16"),),
    "dists": (functools.partial(backbone_file, "vgg16"), dists_file),
}
"""By metric, what fetches each of its files."""
