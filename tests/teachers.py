"""Stand-ins for teachers: small random networks, and synthetic pictures in place of a teacher's output."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_photo
from PIL import ImageFilter
from tiny import SMALL
from torch import Tensor, nn

from sprdiff.training.data import Taught
from sprdiff.training.real_esrgan import NAME, STAGES, RealESRGAN


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

    for module in ("semantic_stage", "restoration"):
        monkeypatch.setattr(f"sprdiff.training.{module}.feature_network", feature_network)
    monkeypatch.setattr("sprdiff.training.restoration.PerceptualLoss", PerceptualLoss)
    monkeypatch.setattr("sprdiff.training.teacher_stage.RealESRGAN", small_teacher)


def small_teacher() -> RealESRGAN:
    """A teacher whose features the small configuration can follow."""
    return RealESRGAN(blocks=4, channels=SMALL.conditions["pixel_channels"], growth=4)


def write_ncnn(teacher: RealESRGAN, file: Path, half: bool = True) -> None:
    """A teacher's weights as ncnn keeps them."""
    parts = []
    for layer in (each for each in teacher.modules() if isinstance(each, nn.Conv2d)):
        if layer is not teacher.full_size:
            weight = layer.weight.detach().numpy().astype(np.float16 if half else np.float32).tobytes()
            padding = bytes(-len(weight) % 4)
            tag = (0x01306B47 if half else 0).to_bytes(4, "little")
            parts += [tag, weight, padding, layer.bias.detach().numpy().tobytes()]
    file.write_bytes(b"".join(parts))


def make_taught(seed: int, width: int = 136, height: int = 128) -> Taught:
    """A photograph, a blurred one in place of its coarse picture, one blurred less, and random features."""
    photo = make_photo(width, height, seed)
    coarse, taught = (photo.filter(ImageFilter.GaussianBlur(radius)) for radius in (3, 1))
    shape = (height // 4, width // 4, STAGES, SMALL.conditions["pixel_channels"])
    features = np.random.default_rng(seed).normal(size=shape).astype(np.float16)
    return Taught(*(np.asarray(each) for each in (photo, coarse, taught)), features, 100.0 + seed)


def save_photographs(folder: Path, count: int, width: int, height: int) -> Path:
    """``folder``, with photographs, a teacher's pictures and a teacher's weights."""
    for seed in range(count):
        make_photo(width, height, seed).save(folder / f"{seed}.png")
    save_taught(folder / "taught")
    write_ncnn(small_teacher(), folder / f"{NAME}.bin")
    return folder


def save_taught(folder: Path, count: int = 3) -> None:
    """Files of the stages that follow a teacher."""
    folder.mkdir()
    for seed in range(count):
        (folder / f"{seed}.npz").write_bytes(make_taught(seed).to_bytes())
