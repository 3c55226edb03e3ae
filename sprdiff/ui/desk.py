"""What all tabs share: the model, the open sessions, and the comparisons made lately."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sprdiff.bitstream import MAX_PIXELS
from sprdiff.errors import SPRDiffError
from sprdiff.metrics import METRICS
from sprdiff.types import OnBytes, Progress
from sprdiff.ui import texts, threads
from sprdiff.ui.jobs import Line, Stopped, turn
from sprdiff.ui.model import BackgroundModel, Checkpoint, Models
from sprdiff.ui.records import (
    METRIC_IDS,
    SPRDIFF_METHODS,
    Awaited,
    Measured,
    Missing,
    StreamDetail,
    Unmeasured,
)
from sprdiff.ui.scratch import Scratch
from sprdiff.ui.sessions import Sessions
from sprdiff.ui.weights import MetricWeights

if TYPE_CHECKING:
    from PIL import Image

    from sprdiff.comparison.compare import MethodResult
    from sprdiff.pipeline import SPRDiffPipeline

logger = logging.getLogger(__name__)

DETAILED = "sprdiff-final"
"""Of this method's stream the page shows where the bits went."""

QUICK_SHARE = 0.35
"""Of the time of a comparison: by then PSNR and MS-SSIM are measured."""

RUNS, WAITING_RUNS = 3, 24
"""At once, each holding all of its pictures, and in the line before them."""
READERS = 2
"""Pictures that are decoded at once."""

EMIT_SECONDS = 1.0
"""Between the numbers of some pictures and those of the next."""

CACHED_COMPARISONS = 16
CACHED_PIXELS = 60_000_000
"""Of all cached pictures together: 180 MB."""


@dataclass(frozen=True)
class Comparison:
    """A finished comparison in which all took part, and what is known of its SPRDiff stream."""

    results: list[MethodResult]
    detail: StreamDetail | None


class Desk:
    """The one object that handlers work with.

    Args:
        loader: makes the pipeline, called in the background.
        model_name: what the page calls the model.
        max_pixels: of a picture; larger ones are refused before they are decoded.
        fetch_model: see ``Checkpoint.fetch``.
        others: models that visitors may choose instead.
        fetch_weights: fetch the weights of the metrics at once, not when they are first needed.
    Attributes:
        line: runs wait in it.
        measuring: held while deep metrics are measured, by the page and by programs.
    """

    def __init__(
        self,
        loader: Callable[[], SPRDiffPipeline],
        model_name: str,
        max_pixels: int = MAX_PIXELS,
        *,
        fetch_model: Callable[[OnBytes], int] | None = None,
        others: Sequence[Checkpoint] = (),
        fetch_weights: bool = False,
    ) -> None:
        self.weights = MetricWeights()
        if fetch_weights:
            self.weights.start(METRIC_IDS)
        self.models = Models([Checkpoint(model_name, loader, fetch_model), *others], self._warm_up)
        self.scratch = Scratch()
        self.sessions = Sessions(self.scratch)
        # Apart from the model's: a deep metric takes hundreds of megabytes and every core, and it keeps the
        # features of one original.
        self.measuring = threading.Lock()
        self.line = Line(RUNS, WAITING_RUNS)
        self._max_pixels = max_pixels
        self._readers = threading.BoundedSemaphore(READERS)
        self._comparisons: OrderedDict[tuple, Comparison] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def model(self) -> BackgroundModel:
        """The one of those who have chosen none."""
        return self.models.default

    def read_picture(self, path: str) -> Image.Image:
        """The picture in a file, as ``sprdiff.images.load_image`` gives it; a few are decoded at once.

        Raises:
            InputImageError: not a picture, or outside the limits.
        """
        from sprdiff.images import load_image

        with self._readers:
            return load_image(path, max_pixels=self._max_pixels)

    def compare(
        self,
        model: BackgroundModel,
        image: Image.Image,
        method_ids: Sequence[str],
        target_bpp: float,
        report: Progress,
        emit: Callable[[Unmeasured | Measured | Awaited | Missing | StreamDetail], None],
        metrics: Sequence[str] = METRIC_IDS,
    ) -> None:
        """Emits every picture as it is decoded, then all of them again with more and more numbers.

        The model's lock is held until the last picture is there, and not while they are measured. Numbers
        that come within a second are emitted together: browsers take their time to show them, on a laptop
        from the cores that measure. The whole is remembered, unless a method is missing: it may be there the
        next time.
        """
        with ExitStack() as place:
            place.enter_context(self.line.turn(report))
            # Here, since it imports torch.
            from sprdiff.comparison.compare import CODING_SHARE, code, measured, part
            from sprdiff.metrics.deep import reduced_precision

            report(0.0, texts.STARTING if model.state.phase == "ready" else texts.MODEL_LOADING)
            results: dict[str, MethodResult] = {}
            missing: list[str] = []
            detail: StreamDetail | None = None

            def on_missing(method: str, error: Exception) -> None:
                if method in SPRDIFF_METHODS:
                    raise error
                if not isinstance(error, SPRDiffError):
                    logger.error("%s failed", method, exc_info=error)
                reason = str(error).rstrip(".") if isinstance(error, SPRDiffError) else texts.METHOD_FAILED
                missing.append(method)
                emit(Missing(method, reason))

            coding = part(report, 0, CODING_SHARE)
            with model.use(coding) as pipeline:
                for result in code(
                    image, method_ids, pipeline, target_bpp=target_bpp, progress=coding, on_missing=on_missing
                ):
                    results[result.method] = result
                    emit(Unmeasured(result))
                if DETAILED in results:
                    info, bits = pipeline.look_into(results[DETAILED].encoded.data)
                    detail = StreamDetail(info.rate, bits)
                    emit(detail)

            def measure(ids: Sequence[str], progress: Progress) -> None:
                fresh: dict[str, MethodResult] = {}
                emitted = time.monotonic()
                for result in measured(image, results.values(), ids, progress=progress):
                    results[result.method] = fresh[result.method] = result
                    if time.monotonic() - emitted >= EMIT_SECONDS:
                        emit(Measured(tuple(fresh.values())))
                        fresh, emitted = {}, time.monotonic()
                if fresh:
                    emit(Measured(tuple(fresh.values())))

            measure(
                [metric for metric in metrics if not METRICS[metric].deep],
                part(report, CODING_SHARE, QUICK_SHARE),
            )
            deep = [metric for metric in metrics if METRICS[metric].deep]
            for done, metric in enumerate(deep):
                share = (1 - QUICK_SHARE) / len(deep)
                start = QUICK_SHARE + done * share

                def say_awaited(state: str, metric: str = metric) -> None:
                    emit(Awaited(metric, state))

                # Outside of the turn: another visitor's metric may have its weights already. And a download
                # of minutes must not keep the next in line from their pictures.
                self.weights.wait(metric, part(report, start, start + share / 2), place.close, say_awaited)
                measuring = part(report, start + share / 2, start + share)
                with turn(self.measuring, measuring), reduced_precision():
                    measure([metric], measuring)
            if not missing:
                key = comparison_key(model, image, method_ids, target_bpp)
                self._remember(key, Comparison(list(results.values()), detail))

    def remembered(
        self,
        model: BackgroundModel,
        image: Image.Image,
        method_ids: Sequence[str],
        target_bpp: float,
        metrics: Sequence[str] = METRIC_IDS,
    ) -> Comparison | None:
        """The same comparison made before with at least these metrics, or None."""
        key = comparison_key(model, image, method_ids, target_bpp)
        with self._lock:
            comparison = self._comparisons.get(key)
            if comparison is None or any(set(metrics) - set(r.metrics) for r in comparison.results):
                return None
            self._comparisons.move_to_end(key)
            return comparison

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

    def _warm_up(self, pipeline: SPRDiffPipeline) -> None:
        """Codes and measures a small picture: libraries load and convolutions choose their kernels only once.

        The deep metrics are built in a thread of their own, once their weights are there: a slow network must
        not keep the page from coding. They measure a picture as large as a photograph, whose feature maps
        take a gigabyte that the first visitor need not wait for.
        """
        from PIL import Image

        from sprdiff.metrics import measure
        from sprdiff.metrics.deep import reduced_precision

        picture = Image.new("RGB", (192, 192))
        pipeline.decompress(pipeline.compress(picture, target_bpp=0.03))
        measure(picture, picture, ("psnr-rgb", "ms-ssim-rgb"))

        def go_on(share: float, text: str) -> None:
            if threads.ending.is_set():
                raise Stopped

        def build_networks() -> None:
            photograph = Image.new("RGB", (768, 512))
            with suppress(Stopped):
                for metric in METRIC_IDS:
                    go_on(0.0, "")
                    self.weights.wait(metric, go_on)
                    with turn(self.measuring, go_on), reduced_precision():
                        measure(photograph, photograph, [metric])

        if self.weights.fetching_ahead:
            threads.start(build_networks, "sprdiff-metrics")


def comparison_key(
    model: BackgroundModel, image: Image.Image, method_ids: Sequence[str], target_bpp: float
) -> tuple:
    """What makes two comparisons the same: the model, the pixels, the methods and the budget."""
    content = hashlib.sha256(image.tobytes()).hexdigest()
    return model.name, content, image.size, tuple(method_ids), target_bpp
