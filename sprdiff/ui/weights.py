"""The weights of the deep metrics: fetched in the background, and waited for where a number needs them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from sprdiff.errors import PackageError, WeightsError
from sprdiff.metrics.deep import WEIGHTS
from sprdiff.metrics.download import downloads
from sprdiff.types import Progress
from sprdiff.ui import texts

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
    ) -> None:
        """Until the files of a metric are there, or it is known why not; ``report`` is told how far it is.

        Ends with what ``report`` raises; the fetch goes on.

        Args:
            on_wait: called first where they are not there at once.
        """
        thread = _in_background([metric])
        thread.join(POLL_SECONDS)
        if thread.is_alive():
            on_wait()
        while thread.is_alive():
            if report is not None:
                report(*fetch_state())
            thread.join(POLL_SECONDS)


def fetch_state() -> tuple[float, str]:
    """How much of the files on their way has arrived, in [0, 1], and a few words about it."""
    running = downloads()
    total = sum(file.total or 0 for file in running)
    if not total:
        return 0.0, texts.FETCHING
    share = sum(file.received for file in running) / total
    return share, texts.FETCHING_SHARE.format(size=_size_text(total), percent=int(100 * share))


def _size_text(num_bytes: int) -> str:
    """As people say it: "528 MB", "6 kB"."""
    return f"{num_bytes / 1e6:.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


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
