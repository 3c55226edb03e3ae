"""The colours of any picture as 8-bit sRGB.

mode of Pillow -> 8 bit, alpha apart -> sRGB by the colour profile -> alpha over white
"""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
from PIL import Image, ImageChops, ImageCms

from sprdiff.errors import InputImageError

_SIXTEEN_BIT_MODES = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})


# A picture that was scanned, or went through a colour profile, is as good as gray with this much of a tint.
_GRAY_LEVELS = 2


def is_grayscale(image: Image.Image) -> bool:
    """Whether no two channels of an RGB picture differ by more than 2 of 255 levels anywhere."""
    channels = itertools.combinations(image.split(), 2)
    return not any(any(ImageChops.difference(*pair).histogram()[_GRAY_LEVELS + 1 :]) for pair in channels)


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB, 8 bit, of a loaded picture: colour converted to sRGB, transparency over white. A new picture."""
    profile = image.info.get("icc_profile")
    if image.mode in _SIXTEEN_BIT_MODES or image.mode in ("I", "F"):
        alpha = _key_alpha(image)
        image = _eight_bit(image)
    else:
        image, alpha = _split_alpha(image)
    return _over_white(_through_profile(image, profile), alpha)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grayscale (``L``) of a picture with one channel of more than 8 bits.

    ``I;16`` and what a file gives as ``I`` are 16 bit. Floats, and integers made in memory, carry no range:
    the smallest of 1 (floats only), 255 and 65535 that holds all of them is taken, and where none does,
    their own minimum and maximum.

    Raises:
        InputImageError: a value is not finite.
    """
    values = np.asarray(image)  # (H, W)
    least, most = float(values.min()), float(values.max())
    if not (math.isfinite(least) and math.isfinite(most)):  # NaN is the minimum of all that it is among
        raise InputImageError("The image holds values that are not finite numbers.")
    if image.mode in _SIXTEEN_BIT_MODES:
        tops: tuple[float, ...] = (65535,)
    elif image.mode == "I":
        tops = (255, 65535) if image.format is None else (65535,)
    else:
        tops = (1, 255, 65535)
    low, high = 0.0, next((top for top in tops if most <= top), None)
    if least < 0 or high is None:
        low, high = least, max(most, least + 1)
    scaled = np.empty(values.shape, np.uint8)
    for row, out in zip(values, scaled, strict=True):  # of all rows at once, the doubles would be large
        out[:] = np.rint((row.astype(np.float64) - low) * (255 / (high - low)))
    return Image.fromarray(scaled)


def _key_alpha(image: Image.Image) -> Image.Image | None:
    """Alpha of a 16-bit grayscale PNG in which one gray value stands for transparent; None without one."""
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return None
    return Image.fromarray(np.where(np.asarray(image) == key, 0, 255).astype(np.uint8))


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The picture without transparency, in a mode that a colour profile applies to, and its alpha or None."""
    if image.mode in ("RGBa", "La"):
        image = image.convert(image.mode.upper())  # undo the premultiplication
    elif image.mode == "PA" or (image.mode not in ("RGBA", "LA") and image.has_transparency_data):
        image = image.convert("RGBA")  # palette entries or key colours become an alpha channel
    elif image.mode == "P":
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    if image.mode in ("RGBA", "LA"):
        return image.convert(image.mode[:-1]), image.getchannel("A")
    return image, None


def _over_white(rgb: Image.Image, alpha: Image.Image | None) -> Image.Image:
    """round((colour * alpha + 255 * (255 - alpha)) / 255) in the 8-bit values, as browsers blend."""
    if alpha is None or alpha.getextrema() == (255, 255):
        return rgb.copy()
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _through_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB of an opaque picture; through its colour profile where it has a usable one."""
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(image)
    if image.mode == "YCbCr" or image.mode == "HSV" or image.mode == "RGBX":
        image = image.convert("RGB")
    if profile:
        try:
            transform = ImageCms.buildTransform(
                io.BytesIO(profile),
                ImageCms.createProfile("sRGB"),
                image.mode,
                "RGB",
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )
            if not _is_identity(transform, image.mode):
                return transform.apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile, or one of another colour space: viewers ignore it, so do we
    return image.convert("RGB")


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether no colour moves by more than one level: then sRGB pictures stay exactly as they are."""
    if mode == "CMYK":
        return False
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = Image.fromarray(grid).convert(mode)
    moved = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    return bool(np.abs(moved).max() <= 1)
