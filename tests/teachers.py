"""Stand-ins for what teaches: networks that are small and random, and pictures that nobody had to make."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import ImageFilter
from torch import Tensor, nn

from sprdiff.training.data import Taught


class FeatureNetwork(nn.Module):
    """Maps at strides 2, 4, 8, 16 and 32 of pixels (B, 3, H, W), as a timm model gives them."""

    channels = (4, 6, 8, 8, 12)

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c_in, c_out, 3, 2, 1), nn.BatchNorm2d(c_out), nn.SiLU())
            for c_in, c_out in itertools.pairwise((3, *self.channels))
        )
        for stage in self.stages:
            nn.init.kaiming_normal_(stage[0].weight)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class PerceptualLoss(nn.Module):
    """Mean absolute and squared error under the names of two metrics."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(()))

    def lpips(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return self.weight * (x_hat - x).abs().mean((1, 2, 3))

    def dists(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return self.weight * (x_hat - x).pow(2).mean((1, 2, 3))


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put them where the stages look for the real ones."""

    def feature_network(name: str, folder=None) -> nn.Module:
        torch.manual_seed(0)
        return FeatureNetwork().eval().requires_grad_(False)

    for stage in ("semantic_stage", "diffusion_stage"):
        monkeypatch.setattr(f"sprdiff.training.{stage}.feature_network", feature_network)
    monkeypatch.setattr("sprdiff.training.diffusion_stage.PerceptualLoss", PerceptualLoss)


def make_taught(seed: int, width: int = 136, height: int = 128) -> Taught:
    """A photograph, a blurred one in place of its coarse picture, and one that is blurred less."""
    photo = make_photo(width, height, seed)
    coarse, taught = (photo.filter(ImageFilter.GaussianBlur(radius)) for radius in (3, 1))
    return Taught(*(np.asarray(each) for each in (photo, coarse, taught)), 100.0 + seed)


def save_taught(folder: Path, count: int = 3) -> None:
    """Files of the imitation stage."""
    folder.mkdir()
    for seed in range(count):
        (folder / f"{seed}.npz").write_bytes(make_taught(seed).to_bytes())
