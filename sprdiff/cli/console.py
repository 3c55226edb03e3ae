"""What a command shows: progress and warnings on stderr, one result on stdout."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sprdiff.cli.common import COMMON
from sprdiff.types import Progress as ProgressCallback


def quiet_libraries() -> None:
    """Keep what other libraries say about themselves off stderr: deprecations, and what they did not find.

    Who asks Python for warnings (``-W``, ``PYTHONWARNINGS``) gets all of them.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    # They miss kernels for 4-bit weights, which nothing here has.
    for library in ("bitsandbytes", "kernels"):
        logging.getLogger(library).setLevel(logging.ERROR)


@contextlib.contextmanager
def progress_bar(*, lines_when_piped: bool = False) -> Iterator[ProgressCallback]:
    """A callback that moves a bar on stderr, with the remaining time; the bar goes when the work ends.

    Within it stdout is stderr, so that nothing a library prints is mixed with the result.

    Args:
        lines_when_piped: where stderr is not a terminal, write a line for each new text instead of nothing.
    """
    console = Console(stderr=True)
    with contextlib.redirect_stdout(sys.stderr):
        if COMMON.quiet or not console.is_terminal:
            yield _line_writer() if lines_when_piped and not COMMON.quiet else lambda share, text: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        # Steps may take minutes, and the time left is estimated from those of the last half hour.
        with Progress(*columns, console=console, transient=True, speed_estimate_period=1800) as bar:
            task = bar.add_task("", total=1.0)
            # Markup off: a file name may hold square brackets.
            yield lambda share, text: bar.update(task, completed=share, description=text.replace("[", r"\["))


def warn(message: str) -> None:
    """One line on stderr, which ``--quiet`` leaves out."""
    if not COMMON.quiet:
        print(_one_line(f"warning: {message}"), file=sys.stderr)


def fail(message: str) -> None:
    """One line on stderr."""
    print(_one_line(f"error: {message}"), file=sys.stderr)


def show(record: dict[str, Any], text: str, *, as_json: bool) -> None:
    """The result on stdout: the record as one JSON object, or the text, unless ``--quiet`` was asked for."""
    if as_json:
        print(json.dumps(record, allow_nan=False))
    elif text and not COMMON.quiet:
        print(text)


def _line_writer() -> ProgressCallback:
    last = ""
    begun: tuple[float, float] | None = None  # when the first share was told, and that share

    def write(share: float, text: str) -> None:
        nonlocal last, begun
        now = time.monotonic()
        begun = begun or (now, share)
        if text and text != last:
            print(
                f"{share:4.0%} {text}{_time_left(now - begun[0], share - begun[1], 1 - share)}",
                file=sys.stderr,
            )
            sys.stderr.flush()
        last = text

    return write


def _time_left(seconds: float, done: float, left: float) -> str:
    """At the speed so far; empty while that is not known, and at the end."""
    if done <= 0 or left <= 0:
        return ""
    minutes, rest = divmod(round(seconds * left / done), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {hours}:{minutes:02}:{rest:02} left"


def _one_line(text: str) -> str:
    return " ".join(text.split())
