"""Every method that can be compared, by id: the two outputs of SPRDiff and the baselines.

Both outputs of SPRDiff come from one stream::

    image, budget --encode--> stream --entropy decode--> coarse image --diffusion--> final image
                                                             |                            |
                                                       sprdiff-coarse               sprdiff-final

so the two adapters share that work: one encode for the same image and budget, and one decode of the coarse
picture. The analysis, with which every encode begins, is also shared by all budgets of an
image. The time that is reported for each is that of all it needed from the start.
"""

from __future__ import annotations

import hashlib
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from PIL import Image

from sprdiff.baselines import BASELINES
from sprdiff.errors import SettingsError
from sprdiff.types import CoarseImage, EncodedImage, ImageCodec, OnStep

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

_CAPACITY = 2  # images in flight: a page serves two at once, and each may hold 192 MB of pixels

# The last analysis of each pipeline with the SHA-256 of its image and its seconds. One is enough: budgets of
# an image are asked for in a row, and for a large photograph it takes a hundred megabytes.
_analyses: weakref.WeakKeyDictionary[SPRDiffPipeline, tuple[str, object, float]] = weakref.WeakKeyDictionary()
_analyses_lock = threading.Lock()


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


def build_methods(
    ids: Iterable[str], pipeline: SPRDiffPipeline | None = None, *, on_step: OnStep | None = None
) -> dict[str, ImageCodec]:
    """A codec for each id, in the order of ``check_methods``.

    Args:
        ids: keys of ``METHODS``.
        pipeline: the model; None will do for baselines alone.
        on_step: called before each step of SPRDiff with the share of the encode, or of the decode of one
            picture, that is done; what it raises ends the work.
    Raises:
        SettingsError: an unknown id, or one of SPRDiff without a pipeline.
    """
    ids = check_methods(ids)
    if pipeline is None:
        if needs_pipeline(ids):
            raise SettingsError(f"{COARSE} and {FINAL} need a model.")
        return {method: BASELINES[method] for method in ids}
    stream = _SharedStream(pipeline, on_step)
    adapters = {method: SPRDiffCodec(method, stream) for method in (COARSE, FINAL)}
    return {method: adapters[method] if method in adapters else BASELINES[method] for method in ids}


def timed_compress(codec: ImageCodec, image: Image.Image, *, max_bytes: int) -> tuple[EncodedImage, float]:
    """The file and the seconds it took; for shared work the seconds of the one time it was done."""
    if isinstance(codec, SPRDiffCodec):
        return codec.timed_compress(image, max_bytes=max_bytes)
    started = time.perf_counter()
    encoded = codec.compress(image, max_bytes=max_bytes)
    return encoded, time.perf_counter() - started


def timed_decompress(codec: ImageCodec, data: bytes, *, size: tuple[int, int]) -> tuple[Image.Image, float]:
    """The picture and the seconds from bytes to picture, without any wait in between."""
    if isinstance(codec, SPRDiffCodec):
        return codec.timed_decompress(data)
    started = time.perf_counter()
    image = codec.decompress(data, size=size)
    return image, time.perf_counter() - started


class SPRDiffCodec:
    """One output of SPRDiff as an ``ImageCodec``; made by ``build_methods``."""

    extension = ".spr"

    def __init__(self, method: str, stream: _SharedStream) -> None:
        self.id = method
        self.label = METHODS[method]
        self._stream = stream

    def compress(self, image: Image.Image, *, max_bytes: int) -> EncodedImage:
        """The best stream within ``max_bytes``, or the smallest one, marked ``over_budget``."""
        return self.timed_compress(image, max_bytes=max_bytes)[0]

    def decompress(self, data: bytes, *, size: tuple[int, int]) -> Image.Image:
        """The picture, RGB; ``size`` is not needed, the stream holds it.

        Raises:
            BitstreamError: not a whole, unaltered stream of the loaded checkpoint.
        """
        return self.timed_decompress(data)[0]

    def timed_compress(self, image: Image.Image, *, max_bytes: int) -> tuple[EncodedImage, float]:
        """As ``compress``, with the seconds of the encode, done now or before for the other output."""
        return self._stream.encode(image, max_bytes)

    def timed_decompress(self, data: bytes) -> tuple[Image.Image, float]:
        """As ``decompress``, with the seconds from the bytes to this picture."""
        if self.id == FINAL:
            return self._stream.final(data)
        coarse, seconds = self._stream.coarse(data)
        return coarse.image, seconds


class _SharedStream:
    """The last few encodes and decodes of one pipeline, for the two adapters, from any thread."""

    def __init__(self, pipeline: SPRDiffPipeline, on_step: OnStep | None) -> None:
        self._pipeline = pipeline
        self._on_step = on_step
        self._encode_lock = threading.Lock()
        self._decode_lock = threading.RLock()
        self._encodes: OrderedDict[tuple[str, int], tuple[EncodedImage, float]] = OrderedDict()
        self._decodes: OrderedDict[bytes, tuple[CoarseImage, float]] = OrderedDict()
        self._finals: OrderedDict[bytes, tuple[Image.Image, float]] = OrderedDict()

    def encode(self, image: Image.Image, max_bytes: int) -> tuple[EncodedImage, float]:
        content = _content_hash(image)
        key = (content, max_bytes)
        with self._encode_lock:
            if key not in self._encodes:
                analysis, seconds = _analyze(self._pipeline, image, content, self._on_step)
                started = time.perf_counter()
                encoded = self._pipeline.encode(image, max_bytes=max_bytes, analysis=analysis)
                _remember(self._encodes, key, (encoded, seconds + time.perf_counter() - started))
            self._encodes.move_to_end(key)
            return self._encodes[key]

    def coarse(self, data: bytes) -> tuple[CoarseImage, float]:
        with self._decode_lock:
            if data not in self._decodes:
                started = time.perf_counter()
                coarse = self._pipeline.decode_coarse(data, on_step=self._on_step)
                _remember(self._decodes, data, (coarse, time.perf_counter() - started))
            self._decodes.move_to_end(data)
            return self._decodes[data]

    def final(self, data: bytes) -> tuple[Image.Image, float]:
        with self._decode_lock:
            if data not in self._finals:
                coarse, seconds = self.coarse(data)
                started = time.perf_counter()
                final = self._pipeline.refine(coarse, on_step=self._on_step)
                _remember(self._finals, data, (final, seconds + time.perf_counter() - started))
            self._finals.move_to_end(data)
            return self._finals[data]


def _content_hash(image: Image.Image) -> str:
    content = hashlib.sha256(f"{image.mode} {image.size}".encode())
    content.update(image.tobytes())
    return content.hexdigest()


def _analyze(
    pipeline: SPRDiffPipeline, image: Image.Image, content: str, on_step: OnStep | None
) -> tuple[object, float]:
    """The analysis of an image and its seconds, done now or for an earlier budget."""
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


def _remember(cache: OrderedDict, key: object, value: object) -> None:
    """Stores the value, and lets go of what no longer fits."""
    cache[key] = value
    while len(cache) > _CAPACITY:
        cache.popitem(last=False)
