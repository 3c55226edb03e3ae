"""Networks pretrained on ImageNet that ours are trained with; no part of a checkpoint."""

from __future__ import annotations

from pathlib import Path

import timm
from safetensors.torch import load_file
from torch import nn

from sprdiff.errors import WeightsError


def feature_network(name: str, folder: Path | None = None) -> nn.Module:
    """A frozen timm model that gives its maps at strides 2, 4, 8, 16 and 32, for pixels in [-1, 1].

    Args:
        name: of an architecture whose weights expect that range, such as ``tf_efficientnet_lite0``.
        folder: with ``{name}.safetensors``, for machines without a network; without it, timm fetches the
            weights through ``huggingface_hub``, which has time limits and a cache of its own.
    Raises:
        WeightsError: the weights are not there, or cannot be fetched.
    """
    if folder is None:
        try:
            network = timm.create_model(name, pretrained=True, features_only=True)
        except Exception as error:  # timm hands through whatever its downloads raise
            raise WeightsError(f"The weights of {name} cannot be fetched: {error}") from error
    else:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            raise WeightsError(f"There are no weights of {name}: {path} does not exist.")
        network = timm.create_model(name, pretrained=False, features_only=True)
        network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
