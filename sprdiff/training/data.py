"""Random crops of a folder of photographs, decoded as they are needed, and rendered graphics among them."""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torchvision.transforms.v2.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
)

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.images import load_image
from sprdiff.training.graphics import draw_graphic
from sprdiff.training.shards import Member, members

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
# Every so many photographs one is held out for validation, by position in the sorted folder.
HOLD_OUT_EVERY = 40
# Of a file in a shard, to find its size in pixels.
HEADER_BYTES = 1 << 18
# Bytes of decoded pictures that a process keeps.
KEPT_BYTES = 1 << 31
# Pixels: a teacher's features are as large as the denoiser's latents.
FEATURE_STRIDE = 4


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


class Source(Protocol):
    """Where crops come from."""

    def crop(self, random: np.random.Generator) -> Any:
        """One, chosen at random."""

    def collate(self, crops: list[Any]) -> Any:
        """A batch of crops."""


class _Stream(IterableDataset):
    """See :func:`stream`."""

    def __init__(
        self, source: Source, count: int, seed: int, first_step: int, rank: int, processes: int
    ) -> None:
        super().__init__()
        self.source, self.count, self.start = source, count, seed
        self.first_step, self.rank, self.processes = first_step, rank, processes

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        own, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for step in itertools.count(self.first_step + own, workers):
            first = (step * self.processes + self.rank) * self.count
            seeds = ((self.start, index) for index in range(first, first + self.count))
            yield self.source.collate([self.source.crop(np.random.default_rng(seed)) for seed in seeds])


def stream(
    source: Source,
    count: int,
    seed: int,
    *,
    first_step: int = 0,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
) -> Iterator[Any]:
    """The batches of one process for ever.

    Every crop has random numbers of its own, by its place in the whole run: neither a stop nor the number of
    workers changes what is seen, and ``processes`` share the batches that one would see.

    Args:
        source: of the crops.
        count: crops a step in this process.
        seed: of the random choices.
        first_step: of the run that goes on.
        rank: which of the ``processes`` this is.
        workers: child processes that prepare batches ahead; 0 to prepare each when it is asked for.
    """
    loader: Iterable[Any] = DataLoader(
        _Stream(source, count, seed, first_step, rank, processes),
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        # DataLoader draws a seed; from torch's global generator it would change a resumed run's numbers.
        generator=torch.Generator(),
    )
    return iter(loader)


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


def to_pixels(pixels: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 as (3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div_(127.5).sub_(1)


def to_uint8(x: Tensor) -> np.ndarray:
    """(3, H, W) in [-1, 1], or a little outside, as (H, W, 3) uint8."""
    return x.clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0).cpu().numpy()


def validation_images(paths: list[Place], multiple: int = 64, count: int = 24) -> list[Tensor]:
    """Held-out pictures cropped to a multiple of ``multiple``, (1, 3, H, W) float32 in [-1, 1]."""
    tensors = []
    for path in paths[:count]:
        image = np.asarray(read_image(path))
        height, width = (side // multiple * multiple for side in image.shape[:2])
        tensors.append(to_pixels(image[:height, :width])[None])
    return tensors


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
