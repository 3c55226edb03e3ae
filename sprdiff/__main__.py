"""``python -m sprdiff``: see ``sprdiff.cli``."""

import sys

from sprdiff.cli import main

if __name__ == "__main__":
    sys.exit(main())
