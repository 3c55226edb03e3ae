"""The weights of the deep metrics: fetched in the background, and waited for where a number needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sprdiff.errors import PackageError, WeightsError
from sprdiff.metrics.deep import WEIGHTS
from sprdiff.metrics.download import downloads
from sprdiff.types import Progress
from sprdiff.ui import texts
from sprdiff.ui.panels import size_text

POLL_SECONDS = 0.3
START_SECONDS = 3.0
"""Before the fetch ahead of need: gradio asks its own page whether it is up, and gives up where the import of
torch keeps it from an answer for that long."""


class MetricWeights:
    """Fetches the files of some metrics, one after the other."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    @property
    def fetching_ahead(self) -> bool:
        """Whether they are fetched before somebody needs them."""
        return self._thread is not None

    @property
    def fetching(self) -> bool:
        """Whether that is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, metrics: Sequence[str]) -> None:
        """Begins to fetch what is missing, in ``START_SECONDS``, and returns at once."""
        self._thread = _in_background(metrics, START_SECONDS)

    def wait(
        self,
        metric: str,
        report: Progress | None = None,
        on_wait: Callable[[], None] = lambda: None,
        on_state: Callable[[str], None] = lambda cell: None,
    ) -> None:
        """Until the files of a metric are there, or it is known why not; ``report`` is told how far it is.

        Ends with what ``report`` raises; the fetch goes on.

        Args:
            on_wait: called first where they are not there at once.
            on_state: told ``FetchState.cell`` whenever it changes, and an empty text at the end.
        """
        thread = _in_background([metric])
        thread.join(POLL_SECONDS)
        if thread.is_alive():
            on_wait()
        told = ""
        while thread.is_alive():
            state = fetch_state()
            if state.cell != told:
                told = state.cell
                on_state(told)
            if report is not None:
                report(state.share, state.sentence)
            thread.join(POLL_SECONDS)
        if told:
            on_state("")


@dataclass(frozen=True)
class FetchState:
    """How far the files on their way are.

    Attributes:
        share: that has arrived, in [0, 1].
        sentence: about all of them.
        cell: words for the place of a number that waits for them.
    """

    share: float
    sentence: str
    cell: str


def fetch_state() -> FetchState:
    """Of the files that this process is fetching."""
    running = downloads()
    total = sum(file.total or 0 for file in running)
    if not total:
        return FetchState(0.0, texts.FETCHING, texts.CELL_FETCHING)
    share = sum(file.received for file in running) / total
    percent = int(100 * share)
    return FetchState(
        share,
        texts.FETCHING_SHARE.format(size=size_text(total), percent=percent),
        texts.CELL_SHARE.format(percent=percent),
    )


def _in_background(metrics: Sequence[str], after: float = 0.0) -> threading.Thread:
    def fetch() -> None:
        time.sleep(after)
        for metric in metrics:
            for file in WEIGHTS.get(metric, ()):
                try:
                    file()
                except (WeightsError, PackageError):
                    break  # raised again, with its reason, where the metric is measured

    thread = threading.Thread(target=fetch, name="sprdiff-weights", daemon=True)
    thread.start()
    return thread
