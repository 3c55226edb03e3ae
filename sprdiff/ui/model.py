"""The pipelines of the page, loaded in the background, no more of them at once than there is room for."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sprdiff import bitstream
from sprdiff.errors import BitstreamError, SettingsError, SPRDiffError, WeightsError
from sprdiff.types import OnBytes, Progress
from sprdiff.ui import texts, threads
from sprdiff.ui.jobs import turn
from sprdiff.ui.panels import size_text

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.3
RESERVED_BYTES = 2_000_000_000
"""Left free when a model joins others: what coding a large picture takes."""
LOADING_FACTOR = 2
"""Memory that loading takes, in sizes of the checkpoint's files."""

Phase = Literal["waiting", "fetching", "loading", "ready", "failed"]


@dataclass(frozen=True)
class ModelState:
    """What the page says about the model.

    Attributes:
        detail: its fingerprint, how far its download is, or the reason it failed.
    """

    phase: Phase
    name: str
    detail: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """A model that visitors can choose.

    Attributes:
        name: what the page calls it.
        load: makes the pipeline; raises ``WeightsError`` where it cannot.
        fetch: bytes of its files, which are downloaded first where they are not on this machine, and its
            argument is told how far that is; raises ``WeightsError``. Nothing that is in memory has to go for
            one that cannot be fetched.
    """

    name: str
    load: Callable[[], SPRDiffPipeline]
    fetch: Callable[[OnBytes], int] | None = None


class BackgroundModel:
    """A pipeline that loads in its own thread, and the lock that gives it to one run at a time.

    Args:
        loader: makes the pipeline; called once, or again after a failure or ``unload``.
        name: what the page calls the model.
        warm_up: called with the pipeline before it is called ready, for all that is slow the first time.
        fetch: see ``Checkpoint``.
        lock: shared with other models, of which one runs at a time.
        make_room: called with the model and the bytes of its files, under the lock, before it is loaded.
    Attributes:
        fingerprint: of the pipeline, once it has been loaded; else empty.
        readable_fingerprints: of the streams that it reads, its own first; likewise.
        used: when it was used last, in seconds of the monotonic clock.
    """

    def __init__(
        self,
        loader: Callable[[], SPRDiffPipeline],
        name: str,
        warm_up: Callable[[SPRDiffPipeline], None] | None = None,
        *,
        fetch: Callable[[OnBytes], int] | None = None,
        lock: threading.Lock | None = None,
        make_room: Callable[[BackgroundModel, int], None] | None = None,
    ) -> None:
        self.lock = lock or threading.Lock()
        self.readable_fingerprints: tuple[str, ...] = ()
        self.used = 0.0
        self._warm_up = warm_up
        self._loader = loader
        self._fetch = fetch
        self._make_room = make_room
        self._changed = threading.Condition()
        self._state = ModelState("waiting", name)
        self._pipeline: SPRDiffPipeline | None = None

    @property
    def name(self) -> str:
        return self._state.name

    @property
    def fingerprint(self) -> str:
        return next(iter(self.readable_fingerprints), "")

    @property
    def state(self) -> ModelState:
        return self._state

    def start(self) -> None:
        """Begins to load, unless that is under way or done."""
        with self._changed:
            if self._state.phase in ("fetching", "loading", "ready"):
                return
            self._set("loading" if self._fetch is None else "fetching")
        threads.start(self._load, "sprdiff-load")

    def get(self, report: Progress | None = None) -> SPRDiffPipeline:
        """The pipeline; waits until it is loaded, and tells ``report`` so.

        Raises:
            WeightsError: it could not be loaded; a later call tries again.
        """
        self.start()
        while True:
            if self._state.phase == "waiting":  # it was let go while this call waited
                self.start()
            with self._changed:
                if self._changed.wait_for(lambda: self._state.phase in ("ready", "failed"), POLL_SECONDS):
                    if self._pipeline is None:
                        raise WeightsError(self._state.detail)
                    return self._pipeline
            if report is not None:
                report(0.0, _waiting_words(self._state))

    @contextmanager
    def use(self, report: Progress) -> Iterator[SPRDiffPipeline]:
        """The pipeline, for this run alone; ``report`` is told what is waited for, and may end it.

        Raises:
            WeightsError: as ``get``.
        """
        while True:
            pipeline = self.get(report)
            with turn(self.lock, report):
                # It may have had to go for another one while this run waited for its turn.
                if pipeline is self._pipeline:
                    self.used = time.monotonic()
                    yield pipeline
                    return

    def unload(self) -> None:
        """Lets go of the pipeline, which is loaded again at its next use; the lock is held."""
        with self._changed:
            self._pipeline = None
            self._set("waiting")

    def states(self) -> Iterator[ModelState]:
        """Every state from now on, the last one ready or failed."""
        seen = None
        while seen is None or seen.phase not in ("ready", "failed"):
            with self._changed:
                while self._state is seen:
                    self._changed.wait()
                seen = self._state
            yield seen

    def _load(self) -> None:
        try:
            num_bytes = 0 if self._fetch is None else self._fetch(self._fetched)
            with self.lock:
                with self._changed:
                    self._set("loading")
                if self._make_room is not None:
                    self._make_room(self, num_bytes)
                pipeline = self._loader()
                self._warm(pipeline)
                with self._changed:
                    self._pipeline, self.readable_fingerprints = pipeline, pipeline.readable_fingerprints
                    self.used = time.monotonic()
                    self._set("ready", pipeline.fingerprint[:12])
        except SPRDiffError as error:
            self._fail(str(error))
        except Exception:
            logger.exception("loading the model failed")
            self._fail("The model could not be loaded; the log says why.")

    def _fetched(self, received: int, total: int) -> None:
        percent = 100 * received // total
        words = texts.MODEL_FETCHED.format(
            received=size_text(received), total=size_text(total), percent=percent
        )
        with self._changed:
            if self._state.detail != words:
                self._set("fetching", words)

    def _fail(self, reason: str) -> None:
        with self._changed:
            self._set("failed", reason)

    def _warm(self, pipeline: SPRDiffPipeline) -> None:
        if self._warm_up is None:
            return
        try:
            self._warm_up(pipeline)
        except Exception:
            # Whatever it was, the first run raises it again.
            logger.exception("warming up failed")

    def _set(self, phase: Phase, detail: str = "") -> None:
        self._state = ModelState(phase, self._state.name, detail)
        self._changed.notify_all()


class Models:
    """The checkpoints that visitors can choose from; one of them works at a time.

    Several stay in memory where there is room, so that visitors who chose differently do not wait for each
    other's; where there is none, those that were used longest ago go before another one is loaded.

    Args:
        checkpoints: at least one; the first is that of a visitor who has chosen none.
        warm_up: see ``BackgroundModel``.
        available: bytes of memory that can be had.
    """

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        warm_up: Callable[[SPRDiffPipeline], None] | None = None,
        available: Callable[[], int] | None = None,
    ) -> None:
        self._available = available or available_memory
        lock = threading.Lock()
        self._models = {
            each.name: BackgroundModel(
                each.load, each.name, warm_up, fetch=each.fetch, lock=lock, make_room=self._make_room
            )
            for each in checkpoints
        }
        self.default = next(iter(self._models.values()))

    @property
    def names(self) -> list[str]:
        return list(self._models)

    def __getitem__(self, name: str | None) -> BackgroundModel:
        """The model of this name; the default for None.

        Raises:
            SettingsError: there is none.
        """
        if name is None:
            return self.default
        if name not in self._models:
            raise SettingsError(texts.NO_MODEL.format(name=name, names=", ".join(self._models)))
        return self._models[name]

    def maker(self, data: bytes) -> BackgroundModel | None:
        """The model that made a stream, among those that were loaded before."""
        return next((model for model in self._models.values() if _made(model, data)), None)

    def _make_room(self, newcomer: BackgroundModel, num_bytes: int) -> None:
        loaded = [model for model in self._models.values() if model.state.phase == "ready"]
        for model in sorted(loaded, key=lambda model: model.used):
            if self._available() >= LOADING_FACTOR * num_bytes + RESERVED_BYTES:
                return
            logger.info("%s leaves memory for %s", model.name, newcomer.name)
            model.unload()
            gc.collect()


def _waiting_words(state: ModelState) -> str:
    if state.phase != "fetching":
        return texts.MODEL_LOADING
    return f"{texts.MODEL_FETCHING}: {state.detail}" if state.detail else texts.MODEL_FETCHING


def available_memory() -> int:
    """Bytes that can still be allocated: on the machine, in its container, on its GPU, whichever is least."""
    import psutil
    import torch

    available = [psutil.virtual_memory().available]
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and (text := limit.read_text().strip()) != "max":
        available.append(int(text) - int(used.read_text()))
    if torch.cuda.is_available():
        available.append(torch.cuda.mem_get_info()[0])
    return min(available)


def _made(model: BackgroundModel, data: bytes) -> bool:
    if not model.readable_fingerprints:
        return False
    try:
        bitstream.unpack(data, *map(bytes.fromhex, model.readable_fingerprints))
    except BitstreamError:
        return False
    return True
