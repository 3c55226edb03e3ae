"""Serves the page: ``python app.py`` is ``sprdiff serve``, under the name that a Space looks for."""

import sys

from sprdiff.cli import main

if __name__ == "__main__":
    sys.exit(main(["serve", *sys.argv[1:]]))
