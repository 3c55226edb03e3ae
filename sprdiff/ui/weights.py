"""The weights of the deep metrics: fetched in the background, and waited for where a number needs them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sprdiff.errors import PackageError, WeightsError
from sprdiff.metrics.deep import WEIGHTS
from sprdiff.metrics.download import downloads
from sprdiff.types import Progress
from sprdiff.ui import texts

POLL_SECONDS = 0.3


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
        """Begins to fetch what is missing, and returns at once."""
        self._thread = _in_background(metrics)

    def wait(self, metric: str, report: Progress | None = None) -> None:
        """Until the files of a metric are there, or it is known why not; ``report`` is told how far it is.

        Ends with what ``report`` raises; the fetch goes on.
        """
        thread = _in_background([metric])
        thread.join(POLL_SECONDS)
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


def _in_background(metrics: Sequence[str]) -> threading.Thread:
    def fetch() -> None:
        for metric in metrics:
            for file in WEIGHTS.get(metric, ()):
                try:
                    file()
                except (WeightsError, PackageError):
                    break  # who measures meets it again, and says why

    thread = threading.Thread(target=fetch, name="sprdiff-weights", daemon=True)
    thread.start()
    return thread
