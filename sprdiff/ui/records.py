"""What the parts of the page hand each other: the chosen picture, and what a comparison emits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprdiff.types import RateBreakdown
from sprdiff.ui import texts

if TYPE_CHECKING:
    import numpy as np

    from sprdiff.comparison.compare import MethodResult

SPRDIFF_METHODS = ("sprdiff-coarse", "sprdiff-final")

METRIC_IDS = tuple(texts.METRICS)
"""The metrics of the page, in the order of its columns."""

PANEL_METRIC_IDS = tuple(metric for metric in METRIC_IDS if metric not in texts.TABLE_ONLY)
"""Those beside the pictures."""


@dataclass(frozen=True)
class Picture:
    """The chosen photograph as it was uploaded; ``path`` is what gradio stored, checked."""

    path: str
    name: str
    width: int
    height: int


@dataclass(frozen=True)
class StreamDetail:
    """Where the bytes of one SPRDiff stream went.

    Attributes:
        rate: the byte split.
        bits: (H, W) float64, bits of each block of 16 x 16 pixels; None if they are not known yet.
    """

    rate: RateBreakdown | None
    bits: np.ndarray | None


@dataclass(frozen=True)
class Unmeasured:
    """A method's picture, not measured yet."""

    result: MethodResult


@dataclass(frozen=True)
class Measured:
    """Results that have more numbers than when they were handed out last."""

    results: tuple[MethodResult, ...]


@dataclass(frozen=True)
class Awaited:
    """A metric that waits for its weights, and a few words on how far they are; none once they are there."""

    metric: str
    state: str


@dataclass(frozen=True)
class Missing:
    """A method without a result, and the reason."""

    method: str
    reason: str
