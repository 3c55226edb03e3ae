"""Long work in a thread of its own, followed step by step, stopped at once."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sprdiff.types import Progress
from sprdiff.ui import texts

POLL_SECONDS = 0.1


class Stopped(Exception):
    """Raised inside the work, at its next report, once nobody wants its results."""


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


def follow(
    work: Callable[[Progress, Callable[[Any], None]], None], lock: threading.Lock, stop: threading.Event
) -> Iterator[Step | Result]:
    """Steps and results of ``work`` as they come; ends early, without waiting, when ``stop`` is set.

    The work runs in a thread and holds ``lock``, so that two visitors never use the model together. A stopped
    work goes on in the background until its next report, and keeps the lock until then.

    Args:
        work: called with two functions, one that reports progress and one that hands over a result.
        lock: held while the work runs.
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
            if not lock.acquire(blocking=False):
                report(0.0, texts.BUSY)
                while not lock.acquire(timeout=POLL_SECONDS):
                    if stop.is_set():
                        raise Stopped
            try:
                work(report, emit)
            finally:
                lock.release()
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
