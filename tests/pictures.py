"""Pictures made of random numbers, the same in every run, and when two are one."""

import numpy as np
from PIL import Image, ImageChops


def smooth_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, (H, W, 3), uint8."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def noisy(image: np.ndarray, sigma: float, seed: int = 1) -> np.ndarray:
    """``image`` with Gaussian noise of deviation ``sigma``, uint8."""
    noise = np.random.default_rng(seed).normal(0, sigma, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def same_pixels(one: Image.Image, other: Image.Image) -> bool:
    """Whether both have one size and the same pixels."""
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None
