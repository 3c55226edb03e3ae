"""The command line: ``sprdiff``, or ``python -m sprdiff``.

``coding`` has ``compress``, ``decompress`` and ``info``, ``comparing`` has ``compare``, ``evaluation`` has
``evaluate``, ``plot`` and ``report``, ``blind``, ``hub`` and ``serve`` what they are named after.

Exit code 0: done. 1: ``evaluate`` had to skip images. 2: bad input, with one line on stderr. 130:
interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code; errors of the user become one line, not a traceback.

    Args:
        arguments: without the name of the program; those of the process by default.
    """
    try:
        # Within: Ctrl-C may come while libraries are imported.
        from sprdiff.cli.app import run

        return run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return INTERRUPTED
