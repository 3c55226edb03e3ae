"""The command line: ``sprdiff``, or ``python -m sprdiff``.

``coding`` has ``compress``, ``decompress`` and ``info``, ``comparing`` has ``compare``, ``evaluation`` has
``evaluate``, ``plot`` and ``report``, ``blind``, ``hub`` and ``serve`` what they are named after.

Exit code 0: done. 1: ``evaluate`` had to skip images. 2: bad input, with one line on stderr. 130:
interrupted.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; errors of the user become one line, not a traceback.

    Args:
        arguments: without the name of the program; those of the process by default.
    """
    with _interrupts() as came:
        try:
            # Within: Ctrl-C may come while libraries are imported.
            from sprdiff.cli.app import run

            return run(list(sys.argv[1:] if arguments is None else arguments))
        except (KeyboardInterrupt, Exception) as error:
            # Some libraries swallow Ctrl-C while they are imported, and fail for want of what was not.
            if not (came or isinstance(error, KeyboardInterrupt)):
                raise
    print("error: interrupted", file=sys.stderr)
    return INTERRUPTED


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that gets an entry at each Ctrl-C, which raises KeyboardInterrupt as ever.

    Where something else is to happen, as with the ignored signal of a background job, it stays empty.
    """
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.default_int_handler(number, frame)

    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield came
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
