"""The pretrained networks under LPIPS and DISTS: of AlexNet and VGG-16 the convolutions, and no more."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar
from urllib.parse import urlsplit

from sprdiff.errors import WeightsError
from sprdiff.metrics.download import cached_weights

if TYPE_CHECKING:
    import torch

Backbone = Literal["alexnet", "vgg16"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_PREFIX = "features."


class BuiltOnce(Generic[_P, _T]):
    """``build`` for threads: the first call with given arguments makes the object, the others share it.

    ``functools.cache`` would build it twice where two threads ask for the first time.
    """

    def __init__(self, build: Callable[_P, _T]) -> None:
        self._build, self._lock = build, threading.Lock()
        self._built: dict[object, _T] = {}
        functools.update_wrapper(self, build)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        key = (args, *kwargs.items())
        with self._lock:
            if key not in self._built:
                self._built[key] = self._build(*args, **kwargs)
            return self._built[key]

    def cache_clear(self) -> None:
        """Forgets all objects."""
        with self._lock:
            self._built.clear()


def backbone_file(name: Backbone) -> Path:
    """A file with the convolutions: torchvision's where it is in torch's cache, else ours, fetched once.

    torchvision's files hold classifiers of 224 and 469 MB as well, which no metric reads: of a download the
    convolutions are kept, 10 MB of AlexNet and 59 MB of VGG-16.

    Raises:
        WeightsError: it is not there and cannot be fetched.
    """
    import torch
    import torchvision

    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    whole = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
    if whole.exists():
        return whole
    return cached_weights(url, "sprdiff", cut=_cut, name=f"{whole.stem}-features.safetensors")


def backbone_features(name: Backbone) -> torch.nn.Sequential:
    """torchvision's ``features`` of the network, pretrained on ImageNet.

    Raises:
        WeightsError: the weights cannot be had, or their file is damaged.
    """
    import torch
    import torchvision

    path = backbone_file(name)
    with torch.device("meta"):  # no memory for the classifier, which is not loaded
        features = torchvision.models.get_model(name).features
    try:
        features.load_state_dict(_convolutions(path), assign=True)
    except Exception as error:  # a broken pickle raises nearly anything
        raise WeightsError(f"{path} does not hold the weights of {name} ({error}); delete it") from error
    return features.requires_grad_(False).eval()


@contextmanager
def torchvision_gives(module: ModuleType, attribute: str, name: Backbone) -> Iterator[None]:
    """Within, ``module``, which knows torchvision's models as ``attribute``, gets our network from them.

    lpips and pyiqa build their networks from what torchvision would load, the classifier included.
    """
    features = backbone_features(name)

    def build(**options: Any) -> SimpleNamespace:
        return SimpleNamespace(features=features)

    theirs = getattr(module, attribute)
    setattr(module, attribute, SimpleNamespace(**{name: build}))
    try:
        yield
    finally:
        setattr(module, attribute, theirs)


def _convolutions(path: Path) -> dict[str, torch.Tensor]:
    """The state of ``features``, float32."""
    import torch
    from safetensors.torch import load_file

    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {key.removeprefix(_PREFIX): value for key, value in state.items() if key.startswith(_PREFIX)}


def _cut(whole: Path, kept: Path) -> None:
    from safetensors.torch import save_file

    try:
        state = _convolutions(whole)
    except Exception as error:
        raise OSError(f"it does not hold weights: {error}") from error
    save_file({key: value.contiguous() for key, value in state.items()}, kept)
