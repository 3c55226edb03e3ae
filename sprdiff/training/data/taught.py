"""What a teacher made of photographs beforehand, and crops of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.training.data.photographs import split, to_pixels

# Pixels: a teacher's features are as large as the denoiser's latents.
FEATURE_STRIDE = 4


class Taught(NamedTuple):
    """A photograph, its coarse picture, and what a teacher made of that.

    Attributes:
        x, coarse, taught: (H, W, 3) uint8.
        features: the teacher's on the way, at 1 / FEATURE_STRIDE of the size: (h, w, stages, C) float16.
        quality: of the coarse picture.
    """

    x: np.ndarray
    coarse: np.ndarray
    taught: np.ndarray
    features: np.ndarray
    quality: float

    def to_bytes(self) -> bytes:
        """As an ``.npz`` file."""
        file = io.BytesIO()
        np.savez(file, **self._asdict())
        return file.getvalue()

    @classmethod
    def read(cls, path: Path) -> Taught:
        """What :meth:`to_bytes` made."""
        with np.load(path, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in cls._fields} | {"quality": float(arrays["quality"])})


class TaughtBatch(NamedTuple):
    """Crops of :class:`Taught`.

    Attributes:
        x, coarse, taught: (B, 3, H, W) in [-1, 1].
        features: (stages, B, channels, h, w).
        quality: (B,).
    """

    x: Tensor
    coarse: Tensor
    taught: Tensor
    features: Tensor
    quality: Tensor


class TaughtCrops:
    """An endless source of random crops, at the same place in all pictures and in the features.

    They are not flipped: the features of a flipped picture are others than the flipped features.

    Args:
        paths: ``.npz`` files of :class:`Taught`; all are read into memory, 40 bytes a pixel.
        size: side of a crop in pixels, divisible by FEATURE_STRIDE.
        seed: of the choices of :meth:`batch`.
    Raises:
        InputImageError: none of them is as large as a crop.
    """

    def __init__(self, paths: list[Path], size: int, seed: int = 0) -> None:
        read = (Taught.read(path) for path in paths)
        self.pictures = [each for each in read if min(each.x.shape[:2]) >= size]
        if not self.pictures:
            raise InputImageError(f"None of {len(paths)} taught pictures is {size} pixels wide and high.")
        self.size = size
        self.random = np.random.default_rng(seed)

    def batch(self, count: int) -> TaughtBatch:
        """``count`` crops."""
        return self.collate([self.crop(self.random) for _ in range(count)])

    def collate(self, crops: list[Taught]) -> TaughtBatch:
        """Crops as tensors."""
        return TaughtBatch(
            torch.stack([to_pixels(each.x) for each in crops]),
            torch.stack([to_pixels(each.coarse) for each in crops]),
            torch.stack([to_pixels(each.taught) for each in crops]),
            torch.stack([torch.from_numpy(each.features).float() for each in crops]).permute(3, 0, 4, 1, 2),
            torch.tensor([each.quality for each in crops]),
        )

    def crop(self, random: np.random.Generator) -> Taught:
        """One of a random picture."""
        picture = self.pictures[random.integers(len(self.pictures))]
        cells = self.size // FEATURE_STRIDE
        top, left = (random.integers(side // FEATURE_STRIDE - cells + 1) for side in picture.x.shape[:2])
        rows, columns = (slice(start, start + cells) for start in (top, left))
        pixel_rows, pixel_columns = (
            slice(FEATURE_STRIDE * each.start, FEATURE_STRIDE * each.stop) for each in (rows, columns)
        )
        x, coarse, taught = (each[pixel_rows, pixel_columns] for each in picture[:3])
        return Taught(x, coarse, taught, picture.features[rows, columns], picture.quality)


def taught_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """Training and held-out files of a teacher's pictures.

    Raises:
        SettingsError: the folder holds fewer than two.
    """
    paths = sorted(folder.glob("*.npz"))
    if len(paths) < 2:
        raise SettingsError(f"At least 2 taught pictures are needed; {folder} holds {len(paths)}.")
    return split(paths)
