"""Random crops of photographs, and drawn pictures among them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.training.data.photographs import Photographs, Place, to_pixels
from sprdiff.training.graphics import draw_graphic


class Crops:
    """An endless source of random crops: flipped, and half of them resized.

    The photographs at hand are small, so a native crop holds more detail per pixel than a crop of a
    larger photograph; enlarging some by up to ``max_zoom`` brings the statistics nearer to those. Reducing
    some to ``min_zoom``, turning and tinting make more of few photographs.

    Args:
        paths: pictures to read; one that turns out damaged is passed over with a warning.
        size: side of a crop in pixels.
        max_zoom: largest enlargement; 1 for none.
        min_zoom: strongest reduction, as far as a picture is large enough; 1 for none.
        turned: the share of crops that are transposed, so that with the flips all directions occur.
        tint: how far brightness, contrast and saturation may be from 1, and ten times the hue from 0, in the
            units of :class:`torchvision.transforms.v2.ColorJitter`; 0 for colours as they are.
        seed: of the choices of :meth:`batch`.
        graphics: the share of crops that are rendered graphics (text, shapes, flat colours) instead.
        sources: how many times as often a picture is wanted as others, by the name of a folder above it; 0 to
            leave it out.
    Raises:
        InputImageError: no picture is large enough.
        SettingsError: no picture lies in one of the folders, or none is wanted.
    """

    def __init__(
        self,
        paths: list[Place],
        size: int,
        max_zoom: float,
        seed: int = 0,
        graphics: float = 0.0,
        sources: Mapping[str, float] = MappingProxyType({}),
        *,
        min_zoom: float = 1.0,
        turned: float = 0.0,
        tint: float = 0.0,
    ) -> None:
        self.images = Photographs(paths, size)
        self.size = size
        self.max_zoom, self.min_zoom = max_zoom, min_zoom
        self.turned, self.tint = turned, tint
        self.graphics = graphics
        self.random = np.random.default_rng(seed)
        # Crops are drawn in proportion to the area of a picture.
        weights = self.images.areas * _wanted(self.images.paths, sources)
        self.weights = np.cumsum(weights / weights.sum())

    def batch(self, count: int) -> Tensor:
        """``count`` crops, (count, 3, size, size) float32 in [-1, 1]."""
        return self.collate([self.crop(self.random) for _ in range(count)])

    def collate(self, crops: list[Tensor]) -> Tensor:
        """Crops (3, size, size) as (count, 3, size, size)."""
        return torch.stack(crops)

    def crop(self, random: np.random.Generator) -> Tensor:
        """One, (3, size, size) float32 in [-1, 1]."""
        if random.random() < self.graphics:
            return to_pixels(draw_graphic(random, self.size))
        image = self._image(random)
        # Random numbers are drawn only for options in use: earlier settings go on giving the same crops.
        zoomed = (self.max_zoom > 1 or self.min_zoom < 1) and random.random() < 0.5
        side = self._side(image, random) if zoomed else self.size
        top = random.integers(image.shape[0] - side + 1)
        left = random.integers(image.shape[1] - side + 1)
        crop = image[top : top + side, left : left + side]
        if random.random() < 0.5:
            crop = crop[:, ::-1]
        if self.turned and random.random() < self.turned:
            crop = crop.swapaxes(0, 1)
        tensor = to_pixels(crop)
        if side != self.size:
            size = (self.size, self.size)
            tensor = F.interpolate(tensor[None], size=size, mode="bicubic", antialias=side > self.size)[0]
            tensor.clamp_(-1, 1)
        return tinted(tensor, self.tint, random) if self.tint else tensor

    def _side(self, image: np.ndarray, random: np.random.Generator) -> int:
        """Of what becomes a crop, in the picture's own pixels."""
        if self.min_zoom == 1:
            return round(self.size / random.uniform(1, self.max_zoom))
        # Even in the logarithm: half as large is as far as twice as large.
        zoom = math.exp(random.uniform(math.log(self.min_zoom), math.log(self.max_zoom)))
        return min(round(self.size / zoom), *image.shape[:2])

    def _image(self, random: np.random.Generator) -> np.ndarray:
        while True:
            place = int(np.searchsorted(self.weights, random.random(), "right"))
            index = min(place, len(self.weights) - 1)
            try:
                return self.images[index]
            except InputImageError as error:
                warnings.warn(f"{self.images.paths[index]} is passed over: {error}", stacklevel=2)


def tinted(x: Tensor, strength: float, random: np.random.Generator) -> Tensor:
    """Pixels (3, H, W) in [-1, 1] with other brightness, contrast, saturation and hue; see :class:`Crops`."""
    brightness, contrast, saturation = random.uniform(1 - strength, 1 + strength, 3)
    x = adjust_brightness(x.add(1).div(2), brightness)
    x = adjust_saturation(adjust_contrast(x, contrast), saturation)
    return adjust_hue(x, random.uniform(-strength, strength) / 10).mul(2).sub(1)


def _wanted(paths: list[Place], sources: Mapping[str, float]) -> np.ndarray:
    """How often each picture is wanted, 1 for those that are in none of the folders."""
    wanted = np.ones(len(paths))
    for name, weight in sources.items():
        inside = np.array([name in path.parent.parts for path in paths])
        if not inside.any():
            raise SettingsError(f"sources names {name}, but no picture lies in a folder of that name.")
        wanted *= np.where(inside, weight, 1)
    if not wanted.any():
        raise SettingsError(f"sources leaves no picture: {dict(sources)}.")
    return wanted
