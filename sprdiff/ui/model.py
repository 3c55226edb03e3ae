"""The pipeline, loaded once in the background while the page is already up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sprdiff.errors import SPRDiffError, WeightsError

if TYPE_CHECKING:
    from sprdiff.pipeline import SPRDiffPipeline

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelState:
    """What the page says about the model; ``detail`` is its fingerprint or the reason it failed."""

    phase: Literal["waiting", "loading", "ready", "failed"]
    name: str
    detail: str = ""


class BackgroundModel:
    """A pipeline that loads in its own thread, and the lock that gives it to one run at a time.

    Args:
        loader: makes the pipeline; called once, or again after a failure.
        name: what the page calls the model.
        warm_up: called with the pipeline before it is called ready, for all that is slow the first time.
    """

    def __init__(
        self,
        loader: Callable[[], SPRDiffPipeline],
        name: str,
        warm_up: Callable[[SPRDiffPipeline], None] | None = None,
    ) -> None:
        self._warm_up = warm_up
        self.lock = threading.Lock()
        self._loader = loader
        self._changed = threading.Condition()
        self._state = ModelState("waiting", name)
        self._pipeline: SPRDiffPipeline | None = None

    @property
    def state(self) -> ModelState:
        return self._state

    def start(self) -> None:
        """Begins to load, unless that is under way or done."""
        with self._changed:
            if self._state.phase in ("loading", "ready"):
                return
            self._set(ModelState("loading", self._state.name))
        threading.Thread(target=self._load, name="sprdiff-load", daemon=True).start()

    def get(self) -> SPRDiffPipeline:
        """The pipeline; waits until it is loaded.

        Raises:
            WeightsError: it could not be loaded; a later call tries again.
        """
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._state.phase in ("ready", "failed"))
            if self._pipeline is None:
                raise WeightsError(self._state.detail)
            return self._pipeline

    def states(self) -> Iterator[ModelState]:
        """Every state from now on, the last one ready or failed."""
        seen = None
        while seen is None or seen.phase in ("waiting", "loading"):
            with self._changed:
                while self._state is seen:
                    self._changed.wait()
                seen = self._state
            yield seen

    def _load(self) -> None:
        try:
            pipeline = self._loader()
            self._warm(pipeline)
        except SPRDiffError as error:
            state = ModelState("failed", self._state.name, str(error))
        except Exception:
            logger.exception("loading the model failed")
            state = ModelState("failed", self._state.name, "The model could not be loaded; the log says why.")
        else:
            state = ModelState("ready", self._state.name, pipeline.fingerprint[:12])
            self._pipeline = pipeline
        with self._changed:
            self._set(state)

    def _warm(self, pipeline: SPRDiffPipeline) -> None:
        if self._warm_up is None:
            return
        try:
            self._warm_up(pipeline)
        except Exception:
            # Whatever it was, the first run will meet it and say so.
            logger.exception("warming up failed")

    def _set(self, state: ModelState) -> None:
        self._state = state
        self._changed.notify_all()
