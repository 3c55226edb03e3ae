"""The best picture within a byte budget, over the scale of the picture and the quality of the codec.

Hardly a classical codec reaches 0.03 bits per pixel at full size, and all look better there from a smaller
picture. So each is given the choice of six scales, and the file kept is the one whose picture, scaled back,
has the highest PSNR to the original.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from sprdiff.budget import best_quality

SCALES = (1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 8)
"""Side length of the coded picture over that of the original."""

# Measured on Kodak 1, 7, 23 at 0.03 bpp, best scale each, mean PSNR: shrinking with box, bicubic or Hamming
# costs AVIF 0.05 to 0.1 dB (Hamming costs WebP less than 0.01; on single images one of them can win), and
# enlarging with bicubic costs 0.03 dB, with bilinear 0.09.
RESAMPLING = Image.Resampling.LANCZOS


@dataclass(frozen=True)
class Candidate:
    """A file at one scale, and the setting that made it: a quality, or a compression ratio for JPEG 2000."""

    data: bytes
    setting: int | float


@dataclass(frozen=True)
class Found:
    """The result of the search.

    Attributes:
        candidate: the file and its setting.
        variant: key of the rate control that made it.
        scale: one of ``SCALES``.
        over_budget: True where even this file, the smallest, exceeds the budget.
    """

    candidate: Candidate
    variant: str
    scale: float
    over_budget: bool


RateControl = Callable[[Image.Image, int], Candidate]
"""Makes the largest file of a picture that fits a number of bytes, or the smallest where none does."""


def best_within(
    image: Image.Image,
    max_bytes: int,
    rate_controls: Mapping[str, RateControl],
    decode: Callable[[bytes], Image.Image],
    patience: int = 2,
) -> Found:
    """The file within ``max_bytes`` whose picture, scaled back, is nearest to ``image`` in PSNR.

    Over the scales the PSNR rises to one peak and falls again, so the search goes from the smallest scale
    up and ends behind the peak; that spares a large photograph most of the work.

    Args:
        image: RGB.
        max_bytes: budget for the whole file.
        rate_controls: variants of one codec, for example with and without chroma subsampling; all are tried,
            each in a thread of its own.
        decode: RGB picture of a file.
        patience: scales in a row without a better picture after which the search ends.
    Returns:
        The best file; if none fits, the smallest file of the smallest scale, marked ``over_budget``.
    """

    @functools.cache
    def made(scale: float) -> dict[str, Candidate]:
        small = shrink(image, scale)
        # A copy for each: Pillow keeps the options of a save in the picture.
        with ThreadPoolExecutor(len(rate_controls)) as pool:
            begun = {
                variant: pool.submit(control, small.copy(), max_bytes)
                for variant, control in rate_controls.items()
            }
            return {variant: future.result() for variant, future in begun.items()}

    smallest, *larger = sorted(SCALES)
    variant, candidate = min(made(smallest).items(), key=lambda each: len(each[1].data))
    found = Found(candidate, variant, smallest, over_budget=True)
    least_error, misses = math.inf, 0
    for scale in (smallest, *larger):
        misses += 1
        for variant, candidate in made(scale).items():
            if len(candidate.data) > max_bytes:
                continue
            error = _squared_error(image, enlarge(decode(candidate.data), image.size))
            if error < least_error:
                found, least_error, misses = Found(candidate, variant, scale, over_budget=False), error, 0
        if misses == patience:
            break
    return found


def shrink(image: Image.Image, scale: float) -> Image.Image:
    """``image`` with both sides times ``scale``, rounded, at least 1 pixel; itself for scale 1."""
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, RESAMPLING)


def enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """``image`` at ``size`` (width, height); itself if it has that size."""
    return image if image.size == size else image.resize(size, RESAMPLING)


def fit_quality(
    encode: Callable[[Image.Image, int], bytes], lowest: int, highest: int, growth: float | None = None
) -> RateControl:
    """Rate control for a codec with an integer quality: the highest one whose file fits.

    The lowest is tried first, so a scale that is out of reach costs one file.

    Args:
        growth: see :func:`sprdiff.budget.best_quality`.
    """

    def control(picture: Image.Image, max_bytes: int) -> Candidate:
        quality, data = best_quality(
            partial(encode, picture),
            max_bytes,
            lowest=lowest,
            highest=highest,
            first=lowest,
            growth=growth,
        )
        return Candidate(data, quality)

    return control


def approach_ratio(encode: Callable[[Image.Image, float], bytes], attempts: int = 5) -> RateControl:
    """Rate control for a codec that is told the compression ratio and comes near it.

    Each attempt moves the number of bytes asked for by what the last file missed the budget by.
    """

    def control(picture: Image.Image, max_bytes: int) -> Candidate:
        uncoded_bytes = 3 * picture.width * picture.height
        best: Candidate | None = None
        asked = max(1, max_bytes)
        seen: set[int] = set()
        while asked not in seen and len(seen) < attempts:
            seen.add(asked)
            ratio = round(uncoded_bytes / asked, 3)
            data = encode(picture, ratio)
            excess = len(data) - max_bytes
            if excess <= 0 and (best is None or len(data) > len(best.data)):
                best = Candidate(data, ratio)
            asked = max(1, asked - excess - (1 if excess > 0 else 0))
        return best or Candidate(encode(picture, uncoded_bytes), uncoded_bytes)

    return control


def _squared_error(image: Image.Image, other: Image.Image) -> int:
    difference = np.asarray(image, dtype=np.int16) - np.asarray(other, dtype=np.int16)
    return int(np.einsum("hwc,hwc->", difference, difference, dtype=np.int64))
