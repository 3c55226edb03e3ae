"""One image, one budget, several methods: the core that the command line, the evaluation and the page share.

Every picture is decoded from the bytes that are handed out with it, every metric is measured on that 8-bit
picture against the original, and every time is that of this run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from PIL import Image

from sprdiff.budget import check_bpp
from sprdiff.errors import SettingsError
from sprdiff.methods import (
    METHODS,
    Coded,
    check_methods,
    check_pipeline,
    code_baseline,
    code_sprdiff,
    needs_pipeline,
)
from sprdiff.metrics import METRICS, MetricValue, measure
from sprdiff.metrics.rate import bpp, max_bytes
from sprdiff.types import EncodedImage, OnStep, Progress

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

DEFAULT_METHODS = ("sprdiff-coarse", "sprdiff-final", "jpeg", "webp", "jpeg2000", "avif")
CODING_SHARE = 0.3
"""Of the time from the photograph to the last number: coding takes it, measuring the rest."""
DEFAULT_METRICS = ("psnr-rgb", "ms-ssim-rgb", "ms-ssim-y", "lpips-alex", "lpips-vgg", "dists")


@dataclass(frozen=True)
class MethodResult:
    """What one method made of one image.

    Attributes:
        method, label: id and name, as in ``sprdiff.methods.METHODS``.
        encoded: the file; ``image`` was decoded from its bytes and nothing else.
        image: RGB, size of the original.
        metrics: by metric id, as far as they are measured; a value of None comes with its reason.
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
    on_missing: Callable[[str, Exception], None] | None = None,
) -> Iterator[MethodResult]:
    """A measured result for each method as soon as it is ready; otherwise as ``code``.

    Args:
        metrics: keys of ``sprdiff.metrics.METRICS``.
    """
    metric_ids = check_metrics(metrics)
    coded = code(image, method_ids, pipeline, target_bpp=target_bpp, on_missing=on_missing)
    return (replace(result, metrics=measure(image, result.image, metric_ids)) for result in coded)


def code(
    image: Image.Image,
    method_ids: Iterable[str],
    pipeline: SPRDiffPipeline | None,
    *,
    target_bpp: float,
    progress: Progress | None = None,
    on_missing: Callable[[str, Exception], None] | None = None,
) -> Iterator[MethodResult]:
    """The picture of each method, not measured yet: ``sprdiff-coarse``, ``sprdiff-final``, then the rest.

    Closing the iterator cancels what has not begun. The methods of SPRDiff share one encode and the decode of
    the coarse picture; the times of each are those of all the work it needed.

    Args:
        image: RGB, as ``sprdiff.images.load_image`` returns it.
        method_ids: keys of ``sprdiff.methods.METHODS``.
        pipeline: the model; None will do for baselines alone.
        target_bpp: the budget of every file in bits per pixel of the original, above 0 and at most 24.
        progress: called before each piece of work, and each step of SPRDiff, with the share that is done, and
            at the end; what it raises ends the work.
        on_missing: called with the id and the error of a method that fails, which is left out unless the
            error is raised again; without it that is done.
    Raises:
        SettingsError: an unknown id, or a budget out of range; before anything is computed.
        SPRDiffError: while iterating, what a codec says of an image it cannot code.
    """
    ids = check_methods(method_ids)
    check_pipeline(ids, pipeline)
    budget = max_bytes(check_bpp(target_bpp), *image.size)
    outputs = [method for method in ids if needs_pipeline([method])]  # of SPRDiff
    num_steps = 2 * len(ids) - (len(outputs) == 2)  # both have one encode
    steps = itertools.count()

    def begin(method: str, step: str) -> OnStep:
        done, text = next(steps), f"{METHODS[method]}: {step}"

        def on_step(share: float) -> None:
            _report(progress, (done + share) / num_steps, text)

        on_step(0.0)
        return on_step

    def results() -> Iterator[MethodResult]:
        if outputs and pipeline is not None:
            yield from finished(outputs, code_sprdiff(outputs, image, pipeline, budget, begin))
        for method in ids[len(outputs) :]:
            yield from finished([method], code_baseline(method, image, budget, begin))
        _report(progress, 1.0, "All pictures are there")

    def finished(methods: Sequence[str], pictures: Iterator[tuple[str, Coded]]) -> Iterator[MethodResult]:
        missing = list(methods)
        try:
            for method, coded in pictures:
                missing.remove(method)
                times = {"encode_seconds": coded.encode_seconds, "decode_seconds": coded.decode_seconds}
                yield MethodResult(method, METHODS[method], coded.encoded, coded.image, {}, **times)
        except Exception as error:
            if on_missing is None:
                raise
            for method in missing:
                on_missing(method, error)

    return results()


def measured(
    image: Image.Image,
    results: Iterable[MethodResult],
    metrics: Iterable[str],
    *,
    progress: Progress | None = None,
) -> Iterator[MethodResult]:
    """The results of ``code`` again, each time one of them has more metrics; those it has are kept.

    The quick metrics of every picture come first, then one deep metric after the other: its weights may have
    to be fetched, and no other number should wait for them.

    Args:
        image: the original, RGB.
        results: each with its picture.
        metrics: keys of ``sprdiff.metrics.METRICS``.
        progress: called before each piece of work with the share of pieces that are done, and at the end.
    Raises:
        SettingsError: an unknown id; before anything is computed.
    """
    ids = check_metrics(metrics)
    quick = [metric for metric in ids if not METRICS[metric].deep]
    groups = ([quick] if quick else []) + [[metric] for metric in ids if METRICS[metric].deep]
    known = {result.method: result for result in results}
    pieces = list(itertools.product(groups, known))

    def again() -> Iterator[MethodResult]:
        for done, (group, method) in enumerate(pieces):
            result = known[method]
            names = ", ".join(METRICS[metric].label for metric in group)
            _report(progress, done / len(pieces), f"{result.label}: measuring {names}")
            values = result.metrics | measure(image, result.image, group)
            # In the order of METRICS, whatever was measured first.
            ordered = {metric: values[metric] for metric in METRICS if metric in values}
            known[method] = replace(result, metrics=ordered)
            yield known[method]
        _report(progress, 1.0, "Done")

    return again()


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


def part(progress: Progress | None, start: float, end: float) -> Progress:
    """Progress of a part of some work, which takes the whole from the share ``start`` to ``end``."""
    return lambda share, text: _report(progress, start + share * (end - start), text)


def _report(progress: Progress | None, share: float, text: str) -> None:
    if progress is not None:
        progress(share, text)
