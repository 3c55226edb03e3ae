"""One image, one budget, several methods: the core that the command line, the evaluation and the page share.

Every picture is decoded from the bytes that are handed out with it, every metric is measured on that 8-bit
picture against the original, and every time is that of this run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from sprdiff.budget import check_bpp
from sprdiff.errors import SettingsError, WeightsError
from sprdiff.methods import METHODS, build_methods, check_methods, timed_compress, timed_decompress
from sprdiff.metrics import METRICS, MetricValue, measure
from sprdiff.metrics.rate import bpp, max_bytes
from sprdiff.types import EncodedImage, Progress

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

DEFAULT_METHODS = ("sprdiff-coarse", "sprdiff-final", "jpeg", "webp", "jpeg2000", "avif")
DEFAULT_METRICS = ("psnr-rgb", "ms-ssim-rgb", "ms-ssim-y", "lpips-alex", "lpips-vgg", "dists")


@dataclass(frozen=True)
class MethodResult:
    """What one method made of one image.

    Attributes:
        method, label: id and name, as in ``sprdiff.methods.METHODS``.
        encoded: the file; ``image`` was decoded from its bytes and nothing else.
        image: RGB, size of the original.
        metrics: by metric id; a value of None comes with its reason.
        encode_seconds, decode_seconds: image to bytes and bytes to image.
    """

    method: str
    label: str
    encoded: EncodedImage
    image: Image.Image
    metrics: dict[str, MetricValue]
    encode_seconds: float
    decode_seconds: float

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return len(self.encoded.data)

    @property
    def bpp(self) -> float:
        """8 x file bytes / (width x height) of the original, header included."""
        return bpp(self.num_bytes, self.encoded.width, self.encoded.height)


def compare(
    image: Image.Image,
    method_ids: Iterable[str],
    pipeline: SPRDiffPipeline | None,
    *,
    target_bpp: float,
    metrics: Iterable[str] = DEFAULT_METRICS,
    progress: Progress | None = None,
    on_image: Callable[[MethodResult], None] | None = None,
    on_missing: Callable[[str, str], None] | None = None,
) -> Iterator[MethodResult]:
    """A result for each method as soon as it is ready: ``sprdiff-coarse``, ``sprdiff-final``, then the rest.

    Closing the iterator cancels what has not begun. The methods of SPRDiff share one encode and one decode;
    the times of each are those of all the work it needed.

    Args:
        image: RGB, as ``sprdiff.images.load_image`` returns it.
        method_ids: keys of ``sprdiff.methods.METHODS``.
        pipeline: the model; None will do for baselines alone.
        target_bpp: the budget of every file in bits per pixel of the original, above 0 and at most 24.
        metrics: keys of ``sprdiff.metrics.METRICS``.
        progress: called before each piece of work with the share of pieces that are done, and at the end.
        on_image: called with each result before it is measured, its ``metrics`` empty: deep metrics take
            longer than a decode, and somebody waits for the picture.
        on_missing: called with the id and the reason where the weights of a baseline cannot be had, which
            is left out then; without it that is raised.
    Raises:
        SettingsError: an unknown id, or a budget out of range; before anything is computed.
        SPRDiffError: while iterating, what a codec says of an image it cannot code.
    """
    metric_ids = check_metrics(metrics)
    method_ids = check_methods(method_ids)
    codecs = build_methods(method_ids, pipeline)
    budget = max_bytes(check_bpp(target_bpp), *image.size)
    steps = 3 * len(codecs)

    def results() -> Iterator[MethodResult]:
        for index, (method, codec) in enumerate(codecs.items()):
            label = METHODS[method]
            _report(progress, 3 * index / steps, f"{label}: encoding")
            try:
                encoded, encode_seconds = timed_compress(codec, image, max_bytes=budget)
            except WeightsError as error:
                if on_missing is None:
                    raise
                on_missing(method, str(error))
                continue
            _report(progress, (3 * index + 1) / steps, f"{label}: decoding")
            decoded, decode_seconds = timed_decompress(codec, encoded.data, size=image.size)
            result = MethodResult(method, label, encoded, decoded, {}, encode_seconds, decode_seconds)
            if on_image is not None:
                on_image(result)
            _report(progress, (3 * index + 2) / steps, f"{label}: measuring")
            values = measure(image, decoded, metric_ids)
            if index + 1 == len(codecs):
                _report(progress, 1.0, "Done")
            yield replace(result, metrics=values)

    return results()


def check_metrics(ids: Iterable[str]) -> list[str]:
    """The ids without repetitions.

    Raises:
        SettingsError: an unknown id; the message lists the known ones.
    """
    chosen = list(dict.fromkeys(ids))
    for metric in chosen:
        if metric not in METRICS:
            raise SettingsError(f"Unknown metric {metric!r}; known are {', '.join(METRICS)}.")
    return chosen


def _report(progress: Progress | None, share: float, text: str) -> None:
    if progress is not None:
        progress(share, text)
