"""MS-SSIM: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003."""

from __future__ import annotations

from sprdiff.metrics.inputs import Picture, batches, pyiqa_architecture

SMALLEST_SIDE = 161
"""Pixels: after four halvings the 11 pixel window must still fit."""


def ms_ssim(reference: Picture, image: Picture) -> float:
    """MS-SSIM of the three RGB channels, averaged; range 255, Gaussian window 11 pixels, sigma 1.5.

    Higher is better; 1 for identical pictures.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than ``SMALLEST_SIDE``.
    """
    import pytorch_msssim

    first, second = batches(reference, image, top=255, smallest_side=SMALLEST_SIDE)
    return pytorch_msssim.ms_ssim(first, second, data_range=255).item()


def ms_ssim_y(reference: Picture, image: Picture) -> float:
    """MS-SSIM of luma by pyiqa, with which the luma figures of several codec papers were measured.

    Luma is BT.601 in full range, 0.299 R + 0.587 G + 0.114 B, rounded to 8 bit. Besides the channel there
    is one difference to ``ms_ssim``: negative contrast terms are clipped pixel by pixel, not after their
    average, which at 0.03 bits per pixel adds up to 0.001.

    Raises:
        ValueError: not 8-bit RGB, or of different size.
        UndefinedMetricError: a side is shorter than ``SMALLEST_SIDE``.
        PackageError: pyiqa is not installed.
    """
    first, second = batches(reference, image, top=1, smallest_side=SMALLEST_SIDE)
    # The function, not pyiqa's module, which works in float64 and takes far longer for the same 5 digits.
    pyiqa = pyiqa_architecture("ssim_arch")
    lumas = (pyiqa.to_y_channel(x, 255) for x in (second, first))
    return pyiqa.ms_ssim(*lumas, data_range=255).item()
