"""Long work in a thread of its own, followed step by step, stopped at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sprdiff.types import Progress
from sprdiff.ui import texts

POLL_SECONDS = 0.1
TURN_SECONDS = 0.3
"""Who waits for less than this is told nothing."""


class Stopped(BaseException):
    """Raised inside the work, at its next report, once nobody wants its results; no error to be handled."""


@dataclass(frozen=True)
class Step:
    """How far the work is, ``fraction`` in [0, 1], and what it is doing."""

    fraction: float
    note: str


@dataclass(frozen=True)
class Result:
    """One thing the work yielded."""

    value: Any


_DONE = object()


@contextmanager
def turn(lock: threading.Lock, report: Progress) -> Iterator[None]:
    """Holds ``lock`` inside; says so while it waits for it, and ends with what ``report`` raises."""
    while not lock.acquire(timeout=TURN_SECONDS):
        report(0.0, texts.BUSY)
    try:
        yield
    finally:
        lock.release()


def follow(
    work: Callable[[Progress, Callable[[Any], None]], None], stop: threading.Event
) -> Iterator[Step | Result]:
    """Steps and results of ``work`` as they come; ends early, without waiting, when ``stop`` is set.

    The work runs in a thread. When it is stopped it goes on in the background until its next report.

    Args:
        work: called with two functions, one that reports progress and one that hands over a result.
        stop: set to end early; set when this iterator is closed.
    Raises:
        Whatever the work raises.
    """
    inbox: queue.Queue[Any] = queue.Queue()

    def report(fraction: float, note: str) -> None:
        if stop.is_set():
            raise Stopped
        inbox.put(Step(fraction, note))

    def emit(value: Any) -> None:
        inbox.put(Result(value))
        if stop.is_set():
            raise Stopped

    def run() -> None:
        try:
            work(report, emit)
        except Stopped:
            inbox.put(_DONE)
        except BaseException as error:
            inbox.put(error)
        else:
            inbox.put(_DONE)

    threading.Thread(target=run, name="sprdiff-run", daemon=True).start()
    try:
        while not stop.is_set():
            try:
                item = inbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if item is _DONE:
                return
            if isinstance(item, BaseException):
                raise item
            # Only the latest of several waiting steps is worth drawing.
            if isinstance(item, Step) and not inbox.empty() and isinstance(inbox.queue[0], Step):
                continue
            yield item
    finally:
        stop.set()
