"""What every metric is given: two RGB pictures of one size, 8 bit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sprdiff.errors import PackageError

if TYPE_CHECKING:
    import torch

Picture = Image.Image | np.ndarray
"""PIL image of mode RGB, or (H, W, 3) uint8."""


class UndefinedMetricError(Exception):
    """The metric has no value for these pictures; the message says why."""


def pyiqa_architecture(name: str) -> Any:
    """The module ``name`` of ``pyiqa.archs``.

    Raises:
        PackageError: pyiqa is not installed.
    """
    try:
        return import_module(f"pyiqa.archs.{name}")
    except ModuleNotFoundError as error:
        if error.name != "pyiqa":
            raise
        raise PackageError("pyiqa is not installed; README, Start, says how: the extra [metrics]") from error


def pixels(reference: Picture, image: Picture) -> tuple[np.ndarray, np.ndarray]:
    """Both pictures as (H, W, 3), uint8.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
    """
    reference, image = _pixels(reference), _pixels(image)
    if reference.shape != image.shape:
        sizes = " and ".join(f"{a.shape[1]} x {a.shape[0]}" for a in (reference, image))
        raise ValueError(f"the pictures must have the same size, got {sizes}")
    return reference, image


def batches(
    reference: Picture, image: Picture, *, top: float, smallest_side: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both pictures as (1, 3, H, W), float32, [0, ``top``].

    Raises:
        ValueError: as ``pixels``.
        UndefinedMetricError: a side is shorter than ``smallest_side`` pixels.
    """
    import torch  # here, so that counting bytes does not wait for it

    arrays = pixels(reference, image)
    side = min(arrays[0].shape[:2])
    if side < smallest_side:
        raise UndefinedMetricError(f"needs at least {smallest_side} pixels a side, the picture has {side}")
    # In this order they keep the memory format "channels last", in which convolutions are faster.
    first, second = (torch.tensor(a)[None].permute(0, 3, 1, 2).float() * (top / 255) for a in arrays)
    return first, second


def _pixels(picture: Picture) -> np.ndarray:
    if isinstance(picture, Image.Image) and picture.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {picture.mode}")
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected an (H, W, 3) uint8 array, got {array.shape} {array.dtype}")
    return array
