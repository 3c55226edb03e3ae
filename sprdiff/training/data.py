"""Random crops of a folder of photographs, held in memory, and drawn pictures among them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sprdiff.errors import InputImageError
from sprdiff.images import load_image
from sprdiff.training.graphics import draw_graphic

EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
# Every so many photographs one is held out for validation, by position in the sorted folder.
HOLD_OUT_EVERY = 40


def list_images(folder: Path) -> list[Path]:
    """The pictures in ``folder``, sorted by name.

    Raises:
        InputImageError: there are fewer than two.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in EXTENSIONS)
    if len(paths) < 2:
        raise InputImageError(f"Training needs at least 2 pictures; {folder} holds {len(paths)}.")
    return paths


def split(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Training and held-out pictures."""
    held_out = paths[:: min(HOLD_OUT_EVERY, len(paths))]
    return [path for path in paths if path not in set(held_out)], held_out


class Crops:
    """An endless source of random crops: flipped, and half of them enlarged.

    The photographs at hand are small, so a native crop holds more detail per pixel than a crop of a
    larger photograph; enlarging some by up to ``max_zoom`` brings the statistics nearer to those.

    Args:
        paths: pictures to read; all are decoded into memory.
        size: side of a crop in pixels.
        max_zoom: largest enlargement; 1 for native crops only.
        seed: of the random choices.
        graphics: the share of crops that are drawn pictures (text, shapes, flat colours) instead.
    """

    def __init__(
        self, paths: list[Path], size: int, max_zoom: float, seed: int, graphics: float = 0.0
    ) -> None:
        images = (np.asarray(load_image(path)) for path in paths)
        self.images = [image for image in images if min(image.shape[:2]) >= size]
        self.size = size
        self.max_zoom = max_zoom
        self.graphics = graphics
        self.random = np.random.default_rng(seed)
        # Crops are drawn in proportion to the area of a picture.
        areas = np.array([image.shape[0] * image.shape[1] for image in self.images], dtype=float)
        self.weights = areas / areas.sum()

    def batch(self, count: int) -> Tensor:
        """``count`` crops, (count, 3, size, size) float32 in [-1, 1]."""
        return torch.stack([self._crop() for _ in range(count)])

    def batches(self, count: int) -> Iterator[Tensor]:
        """:meth:`batch` for ever."""
        while True:
            yield self.batch(count)

    def _crop(self) -> Tensor:
        if self.random.random() < self.graphics:
            return _to_tensor(draw_graphic(self.random, self.size))
        image = self.images[self.random.choice(len(self.images), p=self.weights)]
        zoomed = self.max_zoom > 1 and self.random.random() < 0.5
        side = round(self.size / self.random.uniform(1, self.max_zoom)) if zoomed else self.size
        top = self.random.integers(image.shape[0] - side + 1)
        left = self.random.integers(image.shape[1] - side + 1)
        crop = image[top : top + side, left : left + side]
        if self.random.random() < 0.5:
            crop = crop[:, ::-1]
        tensor = _to_tensor(crop)
        if side != self.size:
            tensor = F.interpolate(tensor[None], size=(self.size, self.size), mode="bicubic")[0].clamp_(-1, 1)
        return tensor


def _to_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(127.5).sub_(1)


def validation_images(paths: list[Path], multiple: int = 64, count: int = 24) -> list[Tensor]:
    """Held-out pictures cropped to a multiple of ``multiple``, (1, 3, H, W) float32 in [-1, 1]."""
    tensors = []
    for path in paths[:count]:
        image = np.asarray(load_image(path))
        height, width = (side // multiple * multiple for side in image.shape[:2])
        tensors.append(_to_tensor(image[:height, :width])[None])
    return tensors
