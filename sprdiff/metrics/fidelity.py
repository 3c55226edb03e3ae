"""Squared error."""

from __future__ import annotations

import math

import numpy as np

from sprdiff.metrics.inputs import Picture, pixels


def psnr(reference: Picture, image: Picture) -> float:
    """Peak signal-to-noise ratio in dB, over all pixels and channels of 8-bit RGB, peak 255.

    Higher is better; infinity for identical pictures. Over several pictures average the dB.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
    """
    reference, image = pixels(reference, image)
    difference = np.asarray(reference, np.int16) - image
    squared_error = int(np.einsum("hwc,hwc->", difference, difference, dtype=np.int64))
    return decibels(squared_error / reference.size)


def decibels(mean_squared_error: float) -> float:
    """PSNR of 8-bit values, peak 255, by their mean squared error; infinity where that is 0."""
    return math.inf if mean_squared_error == 0 else 10 * math.log10(255**2 / mean_squared_error)
