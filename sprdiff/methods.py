"""Every method that can be compared, by id: the two outputs of SPRDiff and the baselines.

Both outputs of SPRDiff come from one stream::

    image, budget --encode--> stream --decode_coarse--> coarse image --refine--> final image
                                                             |                       |
                                                       sprdiff-coarse          sprdiff-final

so ``code_sprdiff`` does each step once for both, and the time that it gives for each is that of all the steps
it needed. The analysis, with which every encode begins, is also shared by all budgets of an image.
"""

from __future__ import annotations

import hashlib
import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from sprdiff.baselines import BASELINES
from sprdiff.errors import SettingsError
from sprdiff.types import EncodedImage, ImageCodec, OnStep

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

COARSE = "sprdiff-coarse"
FINAL = "sprdiff-final"
METHODS: dict[str, str] = {
    COARSE: "SPRDiff coarse",
    FINAL: "SPRDiff final",
    **{method: codec.label for method, codec in BASELINES.items()},
}
"""Label of every method that can run here, by id; SPRDiff first."""

ENCODING, DECODING = "encoding", "decoding"

Begin = Callable[[str, str], OnStep]
"""Called with a method and what is done for it; returns the callback for the steps of that work."""

_NEEDS_MODEL = f"{COARSE} and {FINAL} need a model."

# The last analysis of each pipeline with the SHA-256 of its image and its seconds. One is enough: budgets of
# an image are asked for in a row, and for a large photograph it takes a hundred megabytes.
_analyses: weakref.WeakKeyDictionary[SPRDiffPipeline, tuple[str, object, float]] = weakref.WeakKeyDictionary()
_analyses_lock = threading.Lock()


@dataclass(frozen=True)
class Coded:
    """What one method made of an image.

    Attributes:
        encoded: the file.
        image: RGB, size of the original; decoded from the bytes of ``encoded`` and nothing else.
        encode_seconds, decode_seconds: image to bytes and bytes to image.
    """

    encoded: EncodedImage
    image: Image.Image
    encode_seconds: float
    decode_seconds: float


def check_methods(ids: Iterable[str]) -> list[str]:
    """The ids without repetitions, those of SPRDiff first, otherwise in the order given.

    Raises:
        SettingsError: no id, or an unknown one; the message lists the known ones.
    """
    chosen = list(dict.fromkeys(ids))
    unknown = [method for method in chosen if method not in METHODS]
    if unknown or not chosen:
        found = f"Unknown method {unknown[0]!r}" if unknown else "No method was given"
        raise SettingsError(f"{found}; known are {', '.join(METHODS)}.")
    first = [method for method in (COARSE, FINAL) if method in chosen]
    return first + [method for method in chosen if method not in first]


def needs_pipeline(ids: Iterable[str]) -> bool:
    """Whether one of these methods is SPRDiff itself."""
    return any(method in (COARSE, FINAL) for method in ids)


def check_pipeline(ids: Iterable[str], pipeline: SPRDiffPipeline | None) -> None:
    """Passes if there is a model where one of these methods needs it.

    Raises:
        SettingsError: there is none.
    """
    if pipeline is None and needs_pipeline(ids):
        raise SettingsError(_NEEDS_MODEL)


def build_methods(ids: Iterable[str], pipeline: SPRDiffPipeline | None = None) -> dict[str, ImageCodec]:
    """A codec for each id, in the order of ``check_methods``.

    Args:
        ids: keys of ``METHODS``.
        pipeline: the model; None will do for baselines alone.
    Raises:
        SettingsError: an unknown id, or one of SPRDiff without a pipeline.
    """
    return {method: _codec(method, pipeline) for method in check_methods(ids)}


def _codec(method: str, pipeline: SPRDiffPipeline | None) -> ImageCodec:
    if method in BASELINES:
        return BASELINES[method]
    if pipeline is None:
        raise SettingsError(_NEEDS_MODEL)
    return SPRDiffCodec(method, pipeline)


class SPRDiffCodec:
    """One output of SPRDiff as an ``ImageCodec``; made by ``build_methods``."""

    extension = ".spr"

    def __init__(self, method: str, pipeline: SPRDiffPipeline) -> None:
        self.id = method
        self.label = METHODS[method]
        self._pipeline = pipeline

    def compress(self, image: Image.Image, *, max_bytes: int) -> EncodedImage:
        """The best stream within ``max_bytes``, or the smallest one, marked ``over_budget``."""
        return _encode(self._pipeline, image, max_bytes)[0]

    def decompress(self, data: bytes, *, size: tuple[int, int]) -> Image.Image:
        """The picture, RGB; ``size`` is not needed, the stream holds it.

        Raises:
            BitstreamError: not a whole, unaltered stream of the loaded checkpoint.
        """
        coarse = self._pipeline.decode_coarse(data)
        return coarse.image if self.id == COARSE else self._pipeline.refine(coarse)


def code_sprdiff(
    ids: Collection[str],
    image: Image.Image,
    pipeline: SPRDiffPipeline,
    max_bytes: int,
    begin: Begin,
) -> Iterator[tuple[str, Coded]]:
    """The outputs of SPRDiff, ``COARSE`` first; the diffusion does not run before the next one is asked for.

    Args:
        ids: ``COARSE``, ``FINAL`` or both.
        image: RGB, as ``sprdiff.images.load_image`` returns it.
        max_bytes: budget for the whole file.
        begin: called with a method and what is done for it, before each piece of work; what it gives, before
            each step of that.
    """
    first = COARSE if COARSE in ids else FINAL
    encoded, encode_seconds = _encode(pipeline, image, max_bytes, begin(first, ENCODING))
    on_step = begin(first, DECODING)
    started = time.perf_counter()
    coarse = pipeline.decode_coarse(encoded.data, on_step=on_step)
    decode_seconds = time.perf_counter() - started
    if COARSE in ids:
        yield COARSE, Coded(encoded, coarse.image, encode_seconds, decode_seconds)
    if FINAL in ids:
        if COARSE in ids:
            on_step = begin(FINAL, DECODING)
        started = time.perf_counter()
        final = pipeline.refine(coarse, on_step=on_step)
        decode_seconds += time.perf_counter() - started
        yield FINAL, Coded(encoded, final, encode_seconds, decode_seconds)


def code_baseline(
    method: str, image: Image.Image, max_bytes: int, begin: Begin
) -> Iterator[tuple[str, Coded]]:
    """The one output of a baseline.

    Args:
        method: key of ``BASELINES``.
        image, max_bytes, begin: as in :func:`code_sprdiff`.
    """
    codec = BASELINES[method]
    begin(method, ENCODING)
    started = time.perf_counter()
    encoded = codec.compress(image, max_bytes=max_bytes)
    encode_seconds = time.perf_counter() - started
    begin(method, DECODING)
    started = time.perf_counter()
    picture = codec.decompress(encoded.data, size=image.size)
    yield method, Coded(encoded, picture, encode_seconds, time.perf_counter() - started)


def _encode(
    pipeline: SPRDiffPipeline, image: Image.Image, max_bytes: int, on_step: OnStep | None = None
) -> tuple[EncodedImage, float]:
    """The stream and its seconds, those of the analysis among them."""
    analysis, seconds = _analyze(pipeline, image, on_step)
    started = time.perf_counter()
    encoded = pipeline.encode(image, max_bytes=max_bytes, analysis=analysis)
    return encoded, seconds + time.perf_counter() - started


def _analyze(pipeline: SPRDiffPipeline, image: Image.Image, on_step: OnStep | None) -> tuple[object, float]:
    """The analysis of an image and its seconds, done now or for an earlier budget."""
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    content = digest.hexdigest()
    with _analyses_lock:
        known = _analyses.get(pipeline)
    if known is not None and known[0] == content:
        return known[1:]
    started = time.perf_counter()
    analysis = pipeline.analyze(image, on_step=on_step)
    seconds = time.perf_counter() - started
    with _analyses_lock:
        _analyses[pipeline] = (content, analysis, seconds)
    return analysis, seconds
