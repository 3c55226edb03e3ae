"""The photographs of a folder: which there are, held out or not, and decoded as they are needed."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sprdiff.errors import InputImageError
from sprdiff.images import load_image
from sprdiff.training.shards import Member, members

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
# Every so many photographs one is held out for validation, by position in the sorted folder.
HOLD_OUT_EVERY = 40
# Of a file in a shard, to find its size in pixels.
HEADER_BYTES = 1 << 18
# Bytes of decoded pictures that a process keeps.
KEPT_BYTES = 1 << 31


Place = Path | Member
"""Where a picture is: a file, or a file in a shard."""

AnyPlace = TypeVar("AnyPlace", bound=Place)


def list_images(folder: Path) -> list[Place]:
    """The pictures in ``folder``, the folders and the ``.tar`` shards in it, sorted by path.

    Raises:
        InputImageError: there are fewer than two, or a shard is damaged or compressed.
    """
    paths: list[Place] = []
    for path in folder.rglob("*"):
        if path.suffix.lower() in EXTENSIONS:
            paths.append(path)
        elif path.suffix.lower() == ".tar":
            paths += members(path, EXTENSIONS)
    paths.sort(key=lambda place: place.path if isinstance(place, Member) else place)
    if len(paths) < 2:
        raise InputImageError(f"Training needs at least 2 pictures; {folder} holds {len(paths)}.")
    return paths


def read_image(place: Place) -> Image.Image:
    """The picture there, as :func:`sprdiff.images.load_image` gives it."""
    return load_image(place.read() if isinstance(place, Member) else place)


def split(paths: list[AnyPlace]) -> tuple[list[AnyPlace], list[AnyPlace]]:
    """Training and held-out pictures."""
    held_out = paths[:: min(HOLD_OUT_EVERY, len(paths))]
    return [path for path in paths if path not in set(held_out)], held_out


class Photographs:
    """Pictures by position, decoded when they are asked for.

    However many there are, they take no more than ``kept_bytes`` of memory. What fits in is kept: crops come
    in no order, so the first pictures are as likely to be wanted again as any.

    Args:
        paths: of the files; smaller pictures are left out, and with a warning those that are none.
        smallest_side: in pixels.
        kept_bytes: of decoded pictures that stay in memory.
    Attributes:
        paths: of the pictures that are left.
        areas: their pixels.
    Raises:
        InputImageError: none of them is large enough.
    """

    def __init__(self, paths: list[Place], smallest_side: int, kept_bytes: int = KEPT_BYTES) -> None:
        with ThreadPoolExecutor() as pool:
            sizes = list(pool.map(_size, paths))
        kept = {i: size for i, size in enumerate(sizes) if size is not None and min(size) >= smallest_side}
        if not kept:
            raise InputImageError(f"None of {len(paths)} pictures is {smallest_side} pixels wide and high.")
        self.paths = [paths[i] for i in kept]
        self.areas = np.array([width * height for width, height in kept.values()], dtype=np.float64)
        self.kept_bytes = kept_bytes
        self.kept: dict[int, np.ndarray] = {}

    def __getitem__(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8.

        Raises:
            InputImageError: the file is damaged.
        """
        if index in self.kept:
            return self.kept[index]
        image = np.asarray(read_image(self.paths[index]))
        if image.nbytes <= self.kept_bytes:
            self.kept_bytes -= image.nbytes
            self.kept[index] = image
        return image


def _size(place: Place) -> tuple[int, int] | None:
    """Width and height by a file's header; none, with a warning, where there is no picture."""
    try:
        file = io.BytesIO(place.read(HEADER_BYTES)) if isinstance(place, Member) else place
        with Image.open(file) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        warnings.warn(f"{place} is left out: {error}", stacklevel=2)
        return None


def validation_images(paths: list[Place], multiple: int = 64, count: int = 24) -> list[Tensor]:
    """Held-out pictures cropped to a multiple of ``multiple``, (1, 3, H, W) float32 in [-1, 1]."""
    tensors = []
    for path in paths[:count]:
        image = np.asarray(read_image(path))
        height, width = (side // multiple * multiple for side in image.shape[:2])
        tensors.append(to_pixels(image[:height, :width])[None])
    return tensors


def to_pixels(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> np.ndarray:
    """(3, H, W) in [-1, 1], or a little outside, as (H, W, 3) uint8."""
    return x.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()
