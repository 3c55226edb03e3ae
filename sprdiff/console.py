"""What a command shows: progress and warnings on stderr, one result on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from sprdiff.types import Progress as ProgressCallback


@contextlib.contextmanager
def progress_bar(*, lines_when_piped: bool = False) -> Iterator[ProgressCallback]:
    """A callback that moves a bar on stderr, with the remaining time; the bar goes when the work ends.

    Within it stdout is stderr, so that no library can put a word between the program and its result.

    Args:
        lines_when_piped: where stderr is not a terminal, write a line for each new text instead of nothing.
    """
    console = Console(stderr=True)
    with contextlib.redirect_stdout(sys.stderr):
        if not console.is_terminal:
            yield _line_writer() if lines_when_piped else lambda share, text: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=1.0)
            # Markup off: a file name may hold square brackets.
            yield lambda share, text: bar.update(task, completed=share, description=text.replace("[", r"\["))


def warn(message: str) -> None:
    """One line on stderr."""
    print(_one_line(f"warning: {message}"), file=sys.stderr)


def fail(message: str) -> None:
    """One line on stderr."""
    print(_one_line(f"error: {message}"), file=sys.stderr)


def show(record: dict[str, Any], text: str, *, as_json: bool) -> None:
    """The result on stdout: the record as one JSON object, or the text."""
    print(json.dumps(record, allow_nan=False) if as_json else text)


def _line_writer() -> ProgressCallback:
    last = ""

    def write(share: float, text: str) -> None:
        nonlocal last
        if text != last:
            print(f"{share:4.0%} {text}", file=sys.stderr, flush=True)
        last = text

    return write


def _one_line(text: str) -> str:
    return " ".join(text.split())
