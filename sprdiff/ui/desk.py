"""What all tabs share: the model, the open sessions, and the comparisons made lately."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprdiff.types import Progress, RateBreakdown
from sprdiff.ui import texts
from sprdiff.ui.model import BackgroundModel
from sprdiff.ui.panels import METRIC_IDS
from sprdiff.ui.sessions import Sessions

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from sprdiff.evaluation.comparison import MethodResult
    from sprdiff.pipeline import SPRDiffPipeline

DETAILED = "sprdiff-final"
"""With this result the stream is looked into: earlier would hold up a picture that is waited for."""

CACHED_COMPARISONS = 16
CACHED_PIXELS = 60_000_000
"""Of all cached pictures together: 180 MB."""


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
    """A method's picture before its metrics are there; its result follows."""

    result: MethodResult


@dataclass(frozen=True)
class Missing:
    """A method without a result, and the reason."""

    method: str
    reason: str


@dataclass(frozen=True)
class Comparison:
    """A finished comparison, what could not take part, and what is known of its SPRDiff stream."""

    results: list[MethodResult]
    missing: list[Missing]
    detail: StreamDetail | None


class Desk:
    """The one object that handlers work with.

    Args:
        loader: makes the pipeline, called in the background.
        model_name: what the page calls the model.
    """

    def __init__(self, loader: Callable[[], SPRDiffPipeline], model_name: str) -> None:
        self.model = BackgroundModel(loader, model_name, warm_up)
        self.sessions = Sessions()
        self._comparisons: OrderedDict[tuple, Comparison] = OrderedDict()
        self._lock = threading.Lock()

    def compare(
        self,
        image: Image.Image,
        method_ids: Sequence[str],
        target_bpp: float,
        report: Progress,
        emit: Callable[[MethodResult | Unmeasured | Missing | StreamDetail], None],
    ) -> None:
        """As ``sprdiff.evaluation.comparison.compare``: each picture is emitted, then its result.

        With the first stream of SPRDiff comes its detail, when its final picture is ready. The whole is
        remembered.
        """
        from sprdiff.evaluation.comparison import compare  # here, since it imports torch

        report(0.0, texts.STARTING if self.model.state.phase == "ready" else texts.MODEL_LOADING)
        pipeline = self.model.get()
        results: list[MethodResult] = []
        missing: list[Missing] = []
        detail: StreamDetail | None = None

        def on_missing(method: str, reason: str) -> None:
            missing.append(Missing(method, reason))
            emit(missing[-1])

        for result in compare(
            image,
            method_ids,
            pipeline,
            target_bpp=target_bpp,
            metrics=METRIC_IDS,
            progress=report,
            on_image=lambda result: emit(Unmeasured(result)),
            on_missing=on_missing,
        ):
            results.append(result)
            emit(result)
            if detail is None and result.method == DETAILED:
                data = result.encoded.data
                detail = StreamDetail(pipeline.inspect(data).rate, pipeline.bit_map(data))
                emit(detail)
        self._remember(comparison_key(image, method_ids, target_bpp), Comparison(results, missing, detail))

    def remembered(
        self, image: Image.Image, method_ids: Sequence[str], target_bpp: float
    ) -> Comparison | None:
        """The same comparison made before, or None."""
        key = comparison_key(image, method_ids, target_bpp)
        with self._lock:
            if key in self._comparisons:
                self._comparisons.move_to_end(key)
            return self._comparisons.get(key)

    def _remember(self, key: tuple, comparison: Comparison) -> None:
        with self._lock:
            self._comparisons[key] = comparison
            while len(self._comparisons) > CACHED_COMPARISONS or self._pixels() > CACHED_PIXELS:
                self._comparisons.popitem(last=False)

    def _pixels(self) -> int:
        return sum(
            result.image.width * result.image.height
            for comparison in self._comparisons.values()
            for result in comparison.results
        )


def warm_up(pipeline: SPRDiffPipeline) -> None:
    """Codes and measures a small picture: libraries load and convolutions choose their kernels only once.

    The metrics whose weights may first be downloaded are met in a thread of their own: a slow network must
    not keep the page from coding.
    """
    from PIL import Image

    from sprdiff.metrics import measure

    picture = Image.new("RGB", (192, 192))
    pipeline.decompress(pipeline.compress(picture, target_bpp=0.03))
    measure(picture, picture, ("psnr-rgb", "ms-ssim-rgb"))
    threading.Thread(
        target=measure, args=(picture, picture, METRIC_IDS), name="sprdiff-metrics", daemon=True
    ).start()


def comparison_key(image: Image.Image, method_ids: Sequence[str], target_bpp: float) -> tuple:
    """What makes two comparisons the same: the pixels, the methods and the budget."""
    content = hashlib.sha256(image.tobytes()).hexdigest()
    return content, image.size, tuple(method_ids), target_bpp
