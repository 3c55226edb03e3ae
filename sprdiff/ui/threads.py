"""Threads of the page, which end before the interpreter does.

A daemon thread that is inside torch while the interpreter ends takes the whole process down: when it asks for
the lock of the interpreter, it is unwound through C++ destructors, and ``std::terminate`` aborts.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections.abc import Callable

END_SECONDS = 10.0
"""That the end of the process waits for its threads."""

ending = threading.Event()
"""Set when the process ends: what can stop, stops."""

_threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


def start(work: Callable[[], None], name: str) -> None:
    """Runs ``work`` in a thread that the end of the process waits for, for a while."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    _threads.add(thread)
    thread.start()


@atexit.register
def _end() -> None:
    ending.set()
    deadline = time.monotonic() + END_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
