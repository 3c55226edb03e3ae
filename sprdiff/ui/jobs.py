"""Long work in a thread of its own, followed step by step, stopped at once; a bounded queue before it."""

from __future__ import annotations

import contextvars
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sprdiff.errors import SettingsError
from sprdiff.types import Progress
from sprdiff.ui import texts, threads

POLL_SECONDS = 0.1
STEP_SECONDS = 0.5
"""Seconds between two steps that are drawn."""
TURN_SECONDS = 0.3
"""Seconds between reports of a run that waits; a shorter wait is not reported."""


class Stopped(BaseException):
    """Raised inside the work at its next report after it was stopped; not an error to be handled."""


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


class Line:
    """Lets a few runs work at once; the others wait in the order in which they came.

    Args:
        places: runs that work at once.
        most: runs that may wait.
    """

    def __init__(self, places: int, most: int) -> None:
        self._free = places
        self._most = most
        self._waiting: list[object] = []
        self._changed = threading.Condition()

    def check_room(self) -> None:
        """Passes if one more may wait.

        Raises:
            SettingsError: as many wait as may.
        """
        if len(self._waiting) >= self._most:
            raise SettingsError(texts.FULL.format(count=self._most))

    @contextmanager
    def turn(self, report: Progress) -> Iterator[None]:
        """Holds a place inside; reports its number in the line, and ends with what ``report`` raises."""
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
        try:
            self._wait(ticket, report)
        except BaseException:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()
            raise
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def _wait(self, ticket: object, report: Progress) -> None:
        while True:
            with self._changed:
                if self._free and self._waiting[0] is ticket:
                    self._waiting.pop(0)
                    self._free -= 1
                    self._changed.notify_all()
                    return
                self._changed.wait(TURN_SECONDS)
                number = self._waiting.index(ticket) + 1
            report(0.0, texts.WAITING.format(number=number))


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

    The work runs in a thread. When it is stopped it goes on in the background until its next report. Of
    steps that follow each other closely only the latest is worth drawing: one comes ``STEP_SECONDS`` after
    what came before it, or is left out where something newer comes first.

    Args:
        work: called with two functions, one that reports progress and one that hands over a result.
        stop: set to end early; set when this iterator is closed.
    Raises:
        Whatever the work raises.
    """
    inbox: queue.Queue[Any] = queue.Queue()

    def report(fraction: float, note: str) -> None:
        if stop.is_set() or threads.ending.is_set():
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

    # In the context of the call: whose it is, decides whose share of a lent GPU it takes (``zero_gpu``).
    context = contextvars.copy_context()
    threads.start(lambda: context.run(run), "sprdiff-run")
    shown: Step | None = None  # a run that waits reports the same repeatedly, so that it can be stopped
    latest: Step | None = None
    drawn = -math.inf
    try:
        while not stop.is_set():
            try:
                item = inbox.get(timeout=POLL_SECONDS)
            except queue.Empty:
                item = None
            if item is _DONE:
                return
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, Step):
                latest = item
            elif item is not None:
                yield item
                latest, drawn = None, time.monotonic()
            if latest not in (None, shown) and time.monotonic() - drawn >= STEP_SECONDS:
                yield latest
                shown, drawn = latest, time.monotonic()
    finally:
        stop.set()
