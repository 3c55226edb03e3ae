"""A folder on a read-only or full file system, as Python sees it: permissions do not stop root, this does.

In a process of its own, since it cannot be undone:

    python -c "import read_only; read_only.protect(FOLDER); ..."
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_CHANGES = {
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.utime",
}


def protect(folder: str | Path, number: int = errno.EROFS) -> None:
    """From now on nothing in ``folder`` can be made, changed or removed.

    Args:
        number: of the error that an attempt gives.
    """
    inside = os.path.realpath(folder)

    def refuse(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            paths = (path,) if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else ()
        elif event in _CHANGES:
            paths = arguments[:2]
        else:
            return
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                name = os.fsdecode(path)
                if os.path.commonpath((inside, os.path.abspath(name))) == inside:
                    raise OSError(number, os.strerror(number), name)

    sys.addaudithook(refuse)
