"""All commands, and what becomes of their errors.

Libraries that take seconds to import are imported within the commands, so that ``--help`` is fast and bad
arguments are found at once.
"""

from __future__ import annotations

import traceback
from typing import Annotated

import typer

import sprdiff
from sprdiff.cli import INTERRUPTED, console, texts
from sprdiff.cli.blind import blind, blind_results
from sprdiff.cli.coding import compress, decompress, info
from sprdiff.cli.common import COMMON
from sprdiff.cli.comparing import compare
from sprdiff.cli.evaluation import evaluate, plot, report
from sprdiff.cli.hub import hub
from sprdiff.cli.options import HELP_NAMES, command
from sprdiff.cli.serve import serve
from sprdiff.errors import SPRDiffError

app = typer.Typer(
    name="sprdiff",
    help="Ultra-low-bitrate image compression with semantic and pixel representations (arXiv 2606.01608).",
    context_settings=HELP_NAMES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _program(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        print(sprdiff.__version__)
        raise typer.Exit


for _function in (
    *(compress, decompress, info, compare, evaluate, plot, report),
    *(blind, blind_results, serve),
):
    app.command(context_settings=HELP_NAMES)(command(_function))
app.add_typer(hub, name="hub")


def run(arguments: list[str]) -> int:
    """Runs one command and returns the exit code."""
    try:
        code = app(arguments or ["--help"], prog_name="sprdiff", standalone_mode=False) or 0
        if code == INTERRUPTED:  # typer has turned Ctrl-C into this code and said nothing
            console.fail("interrupted")
        return code
    except typer.TyperException as error:
        message = error.format_message()
    except (SPRDiffError, OSError) as error:  # OSError: a full disk, a file without permission
        if COMMON.verbose:
            traceback.print_exc()
        message = texts.failure(error)
    console.fail(message)
    if "--json" in arguments:
        console.show({"error": message}, message, as_json=True)
    return 2
