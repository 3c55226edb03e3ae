"""What can be given as a picture, and as what pictures are given back: PIL images, arrays, tensors, lists.

PIL image, array (H, W, 3), tensor (3, H, W), or several --as_pictures--> 8-bit RGB --as_output--> any of them
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sprdiff.errors import InputImageError, SettingsError
from sprdiff.images import MAX_PIXELS, load_image, to_tensor

Picture: TypeAlias = Image.Image | np.ndarray | Tensor
OutputType = Literal["pil", "np", "pt"]

_CHANNELS = {1: "gray", 3: "RGB", 4: "RGBA"}


def as_pictures(
    image: Picture | list[Picture] | tuple[Picture, ...], *, max_pixels: int = MAX_PIXELS
) -> tuple[list[Image.Image], bool]:
    """8-bit RGB pictures, see :func:`sprdiff.images.load_image`, and whether a list was given.

    Args:
        image: a PIL image of any mode; a numpy array (H, W, C) or a tensor (C, H, W), with 1, 3 or 4 channels
            (gray, RGB, RGBA), uint8 or floats in [0, 1]; or several: a list, or an array (N, H, W, C) or a
            tensor (N, C, H, W).
        max_pixels: largest width x height of each.
    Raises:
        SettingsError: another type or shape.
        InputImageError: values or a size outside the limits. Both say which picture of a list.
    """
    if isinstance(image, list | tuple) or (isinstance(image, np.ndarray | Tensor) and image.ndim == 4):
        several = list(image)
    else:
        return [as_picture(image, max_pixels=max_pixels)], False
    if not several:
        raise SettingsError("image must hold at least one picture, got none.")
    named = ((f"image[{place}]", each) for place, each in enumerate(several))
    return [as_picture(each, name, max_pixels=max_pixels) for name, each in named], True


def as_picture(image: Picture, name: str = "image", *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """One 8-bit RGB picture; otherwise as :func:`as_pictures`.

    Args:
        name: what errors call it.
    """
    try:
        if isinstance(image, Image.Image):
            return load_image(image, max_pixels=max_pixels)
        if isinstance(image, Tensor):
            return load_image(_from_array(*_channels_last(image, name), name), max_pixels=max_pixels)
        if isinstance(image, np.ndarray):
            array = _from_array(image, f"array of shape {image.shape}", name)
            return load_image(array, max_pixels=max_pixels)
    except InputImageError as error:
        raise InputImageError(f"{name}: {error}") from error
    raise SettingsError(f"{name} must be a PIL image, a numpy array or a tensor, got {type(image).__name__}.")


def as_output(picture: Image.Image, output_type: OutputType) -> Picture:
    """The RGB picture as it is, as an array (H, W, 3), or as a tensor (3, H, W); both float32 in [0, 1].

    Args:
        output_type: as :func:`check_output_type` takes it.
    """
    if output_type == "pil":
        return picture
    x = to_tensor(picture)[0]
    return x if output_type == "pt" else x.permute(1, 2, 0).numpy()


def check_output_type(output_type: OutputType) -> None:
    """Passes if pictures can be given back so.

    Raises:
        SettingsError: they cannot.
    """
    if output_type not in get_args(OutputType):
        allowed = ", ".join(map(repr, get_args(OutputType)))
        raise SettingsError(f"output_type must be one of {allowed}, got {output_type!r}.")


def _channels_last(x: Tensor, name: str) -> tuple[np.ndarray, str]:
    """The tensor as an array (H, W, C), and what it was."""
    found = f"tensor of shape {tuple(x.shape)}"
    if x.ndim != 3 or x.shape[0] not in _CHANNELS:
        raise SettingsError(
            f"{name}: a tensor must be (3, H, W), or (N, 3, H, W) for several, got a {found}."
        )
    x = x.detach().cpu()
    if x.dtype == torch.bfloat16:  # numpy has no such type
        x = x.float()
    return x.permute(1, 2, 0).numpy(), found


def _from_array(values: np.ndarray, found: str, name: str) -> Image.Image:
    if values.ndim != 3 or values.shape[-1] not in _CHANNELS:
        raise SettingsError(
            f"{name}: an array must be (H, W, 3), or (N, H, W, 3) for several, got an {found}."
        )
    if np.issubdtype(values.dtype, np.floating):
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        # What rounds to a level is taken: a resized picture may be a little outside.
        if not -0.5 <= 255 * low <= 255 * high <= 255.5:
            raise InputImageError(f"Floats must be in [0, 1], and these are from {low:g} to {high:g}.")
        values = np.rint(values.clip(0, 1) * np.float32(255)).astype(np.uint8)
    if values.dtype != np.uint8:
        raise SettingsError(f"{name}: values must be uint8, or floats in [0, 1], got {values.dtype}.")
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
