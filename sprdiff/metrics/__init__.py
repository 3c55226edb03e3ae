"""How near a picture is to its original, and what a file costs.

Every function takes ``(reference, image)``, PIL images of mode RGB or (H, W, 3) uint8 arrays of the same
size, and returns a float; ``measure`` runs several and turns what cannot be had into a reason.
torch and the metric libraries are imported at the first call that needs them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sprdiff.errors import PackageError, SettingsError, WeightsError
from sprdiff.metrics.deep import dists, lpips_alex, lpips_vgg
from sprdiff.metrics.fidelity import psnr
from sprdiff.metrics.inputs import Picture, UndefinedMetricError, pixels
from sprdiff.metrics.offline import cw_ssim, fsim, gmsd
from sprdiff.metrics.structural import ms_ssim, ms_ssim_y

__all__ = [
    "METRICS",
    "Metric",
    "MetricValue",
    "UndefinedMetricError",
    "cw_ssim",
    "dists",
    "fsim",
    "gmsd",
    "lpips_alex",
    "lpips_vgg",
    "measure",
    "ms_ssim",
    "ms_ssim_y",
    "psnr",
]


@dataclass(frozen=True)
class Metric:
    """One metric and how to show it.

    Attributes:
        id: lower kebab case.
        label: for tables and axes.
        unit: ``dB``, or empty for a pure number.
        higher_is_better: direction.
        decimals: digits after the point that mean something.
        function: ``(reference, image) -> float``.
        deep: features of a pretrained network are compared: seconds a picture, and weights to fetch first.
    """

    id: str
    label: str
    unit: str
    higher_is_better: bool
    decimals: int
    function: Callable[[Picture, Picture], float]
    deep: bool = False


@dataclass(frozen=True)
class MetricValue:
    """A number, or the reason why there is none.

    Attributes:
        value: infinity for the PSNR of identical pictures; None if there is no value.
        reason: None if there is one.
    """

    value: float | None
    reason: str | None = None


METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        Metric("psnr-rgb", "PSNR (RGB)", "dB", True, 2, psnr),
        Metric("ms-ssim-rgb", "MS-SSIM (RGB)", "", True, 4, ms_ssim),
        Metric("ms-ssim-y", "MS-SSIM (luma)", "", True, 4, ms_ssim_y),
        Metric("lpips-alex", "LPIPS (AlexNet)", "", False, 4, lpips_alex, deep=True),
        Metric("lpips-vgg", "LPIPS (VGG)", "", False, 4, lpips_vgg, deep=True),
        Metric("dists", "DISTS", "", False, 4, dists, deep=True),
        Metric("cw-ssim", "CW-SSIM", "", True, 4, cw_ssim),
        Metric("fsim", "FSIM", "", True, 4, fsim),
        Metric("gmsd", "GMSD", "", False, 4, gmsd),
    )
}
"""Every metric by id, in the order in which tables show them."""


def measure(reference: Picture, image: Picture, ids: Iterable[str]) -> dict[str, MetricValue]:
    """The metrics named by ``ids``, in their order.

    One that is undefined for these pictures, or whose weights or package cannot be had, has a reason instead
    of a value.

    Raises:
        SettingsError: an unknown id.
        ValueError: not 8-bit RGB, or of different size.
    """
    ids = list(ids)
    for unknown in (id for id in ids if id not in METRICS):
        raise SettingsError(f"There is no metric {unknown!r}; known are {', '.join(METRICS)}.")
    reference, image = pixels(reference, image)
    return {id: _measure(METRICS[id], reference, image) for id in ids}


def _measure(metric: Metric, reference: Picture, image: Picture) -> MetricValue:
    try:
        value = metric.function(reference, image)
    except (UndefinedMetricError, WeightsError, PackageError) as error:
        return MetricValue(None, str(error))
    if math.isnan(value):
        return MetricValue(None, "not defined for these pictures")
    return MetricValue(value)
