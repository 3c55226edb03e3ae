"""Temporary files of one server: below one folder, which goes with it, or when the next one begins."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

if sys.platform != "win32":  # it cannot be told there whether a folder's server still runs
    import fcntl

PREFIX = "sprdiff-server-"
_LOCK = ".alive"
KEPT_SECONDS = 3600
"""Age at which the files of an answer to a program are removed; gradio has its own copy by then."""


class Scratch:
    """The temporary folder of a server.

    It is locked as long as the process lives, however that ends. Folders of servers that are gone are removed
    when another begins.
    """

    def __init__(self) -> None:
        remove_abandoned()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        # Locked before it has the name that others look for.
        self._alive = (self.folder / f"{_LOCK}.new").open("w")
        if sys.platform != "win32":
            fcntl.flock(self._alive, fcntl.LOCK_EX)
        (self.folder / f"{_LOCK}.new").rename(self.folder / _LOCK)
        self._lock = threading.Lock()
        atexit.register(self.close)

    def new_folder(self, kind: str) -> Path:
        """An empty folder whose name begins with ``kind``."""
        return Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=self.folder))

    def answer_folder(self) -> Path:
        """An empty folder for what one call is answered; those of calls over an hour ago are removed."""
        with self._lock:
            for folder in self.folder.glob("answer-*"):
                if time.time() - folder.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
        return self.new_folder("answer")

    def close(self) -> None:
        """Remove everything."""
        atexit.unregister(self.close)
        self._alive.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_abandoned() -> None:
    """Remove the folders of servers that are gone, by ``kill -9`` or because the machine went down."""
    if sys.platform == "win32":
        return
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{_LOCK}"):
        try:
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)
        except OSError:  # locked by its server, somebody else's, or removed by another that begins
            continue
