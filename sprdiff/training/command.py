"""How the commands of the training are run."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from sprdiff.cli import console
from sprdiff.errors import SPRDiffError


def run(command: Callable[..., None]) -> None:
    """A typer command; what its user can cause ends in one line and exit code 2, not in a traceback."""
    try:
        typer.run(command)
    except SPRDiffError as error:
        console.fail(str(error))
        sys.exit(2)
