"""Random weights in the files where the metrics look for pretrained ones; see the fixture ``torch_cache``."""

from __future__ import annotations

import math
from pathlib import Path

import torch


def store_random_backbone(hub: Path, name: str) -> dict[str, torch.Tensor]:
    """A file as torchvision downloads it, with random features; its classifier is one repeated zero."""
    import torchvision

    with torch.device("meta"):
        shapes = {k: v.shape for k, v in torchvision.models.get_model(name).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in shapes.items():
        if key.startswith("classifier"):
            state[key] = torch.zeros(1).expand(shape)
        elif len(shape) == 4:
            gain = math.sqrt(2 / math.prod(shape[1:]))
            state[key] = torch.randn(shape, generator=generator) * gain
        else:
            state[key] = torch.randn(shape, generator=generator) * 0.05
    url = torchvision.models.get_model_weights(name).IMAGENET1K_V1.url
    folder = hub / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, folder / url.rsplit("/", 1)[1])
    return state


def store_random_dists(hub: Path) -> dict[str, torch.Tensor]:
    """A file with DISTS' two learned weights for each of its 1475 channels, at random."""
    from pyiqa.archs.dists_arch import default_model_urls

    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.rand(1, 1475, 1, 1, generator=generator) for name in ("alpha", "beta")}
    folder = hub / "pyiqa"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(weights, folder / default_model_urls["url"].rsplit("/", 1)[1])
    return weights
