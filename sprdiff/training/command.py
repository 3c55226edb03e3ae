"""How the commands of the training are run."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from sprdiff.errors import SPRDiffError


def run(command: Callable[..., None]) -> None:
    """A typer command; what its user can cause ends in one line and exit code 2, not in a traceback."""
    try:
        typer.run(command)
    except SPRDiffError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
