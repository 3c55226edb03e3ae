"""What one open page has on the server: a folder for its files and the event that stops its run."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sprdiff.errors import SettingsError
from sprdiff.files import write_file, write_zip
from sprdiff.ui import texts
from sprdiff.ui.scratch import Scratch

if TYPE_CHECKING:
    from PIL import Image

    from sprdiff.blind.trials import Trial

FINISHED_RUNS = 12
IDLE_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Finished:
    """A run that ended by itself.

    Attributes:
        folder: of its files.
        stem: what their names begin with.
        record: what its ``results.json`` holds.
        value: what the viewer shows of it.
    """

    folder: Path
    stem: str
    record: dict[str, Any]
    value: dict[str, Any]


class Session:
    """Files of one page, removed with it.

    Args:
        folder: for its files; a new temporary one without it.
    Attributes:
        folder: for its files.
        run_folder: within it, for those of the current run.
        shown: label and PNG of every panel on view, by panel id.
        on_view: the finished run that the viewer shows; None while there is none.
        model: name of the chosen model; None for that of the page.
        wanted: name of the model that was chosen last and may still be loading.
        study: id and rounds of the blind test that was opened last.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.shown: dict[str, tuple[str, str]] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="sprdiff-page-")) if folder is None else folder
        self.used = time.monotonic()
        self.on_view: Finished | None = None
        self.model: str | None = None
        self.wanted: str | None = None
        self.study: tuple[str, list[list[Trial]]] | None = None
        self._finished: OrderedDict[tuple, Finished] = OrderedDict()
        self._stop = threading.Event()
        self.run_folder = self.folder
        self._runs = 0

    def new_run(self) -> threading.Event:
        """The switch of a new run, which gets a folder of its own; the run before it, if any, is stopped."""
        self._stop.set()
        self._stop = threading.Event()
        self.on_view = None
        self._runs += 1
        self.run_folder = self.folder / str(self._runs)
        with self.writing():
            self.run_folder.mkdir()
        return self._stop

    def is_current(self, stop: threading.Event) -> bool:
        """Whether no later run has taken the place of the one with this switch."""
        return stop is self._stop

    def stop(self) -> None:
        self._stop.set()

    def finish(self, key: tuple, run: Finished) -> None:
        """Keeps a run, which is on view now; the oldest beyond a dozen goes with its files."""
        self._finished[key] = self.on_view = run
        while len(self._finished) > FINISHED_RUNS:
            shutil.rmtree(self._finished.popitem(last=False)[1].folder, ignore_errors=True)

    def finished(self, key: tuple) -> Finished | None:
        """The run with the same settings on this page, which is on view again, or None."""
        found = self._finished.get(key)
        if found is not None:
            self.on_view = found
            self.show(found.value["panels"])
        return found

    @property
    def finished_runs(self) -> list[Finished]:
        """Those that are kept, the oldest first."""
        return list(self._finished.values())

    def show(self, panels: Sequence[dict[str, Any]]) -> None:
        """Keeps in mind which panels are on view."""
        self.shown = {panel["id"]: (panel["label"], panel["picture"]["path"]) for panel in panels}

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def save_picture(self, image: Image.Image, stem: str) -> dict[str, Any]:
        """Writes ``image`` as PNG, so that the browser gets exactly these pixels.

        Raises:
            SettingsError: the page was closed.
        """
        from sprdiff.images import save_png  # here, since it imports torch and the page is up before that

        path = self.run_folder / f"{file_stem(stem)}.png"
        with self.writing():
            save_png(image, path)
        return file_data(path)

    def save_bytes(self, data: bytes, stem: str, extension: str) -> dict[str, Any]:
        path = self.run_folder / f"{file_stem(stem)}{extension}"
        with self.writing():
            write_file(path, data)
        return file_data(path)

    def save_zip(
        self, files: Sequence[dict[str, Any]], texts_by_name: dict[str, str], stem: str
    ) -> dict[str, Any]:
        """Files of this session, each once, and texts, under their names in one archive."""
        path = self.run_folder / f"{file_stem(stem)}.zip"
        with self.writing():
            write_zip(path, {file["orig_name"]: file["path"] for file in files}, texts_by_name)
        return file_data(path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns the missing folder of a page that was closed meanwhile into an error that is no bug."""
        try:
            yield
        except FileNotFoundError as error:
            if self.folder.exists():
                raise
            raise SettingsError(texts.PAGE_CLOSED) from error


LEFT_SECONDS = 60.0
"""How long calls of a closed session are refused; a program whose connection broke may return then."""


class Sessions:
    """Sessions by gradio's session hash.

    Args:
        scratch: where their folders lie.
    """

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._sessions: dict[str, Session] = {}
        self._left: dict[str, float] = {}
        self._lock = threading.Lock()

    def of(self, session_hash: str | None) -> Session:
        """The one of a page, made at its first call; those that nobody has used for hours are closed.

        A browser says when a page is closed, other clients need not.
        """
        key = session_hash or ""
        now = time.monotonic()
        with self._lock:
            idle = [each for each, session in self._sessions.items() if now - session.used > IDLE_SECONDS]
            for each in idle:
                self._sessions.pop(each).close()
            if key not in self._sessions:
                self._sessions[key] = Session(self._scratch.new_folder("page"))
            session = self._sessions[key]
            session.used = now
            return session

    def has_left(self, session_hash: str | None) -> bool:
        """Whether this one was closed lately, so that calls of it may still lie in gradio's queue."""
        with self._lock:
            return time.monotonic() - self._left.get(session_hash or "", -math.inf) < LEFT_SECONDS

    def close(self, session_hash: str | None) -> None:
        key, now = session_hash or "", time.monotonic()
        with self._lock:
            self._left = {each: at for each, at in self._left.items() if now - at < LEFT_SECONDS} | {key: now}
            session = self._sessions.pop(key, None)
        if session is not None:
            session.close()


def file_stem(text: str) -> str:
    """A file name made of letters, digits, dots and dashes, at most 80 of them, never empty or hidden."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.")[:80] or "picture"


def original_stem(name: str) -> str:
    """File name, without extension, of the original as the page shows it."""
    return f"{file_stem(Path(name).stem)[:40]}-original"


def file_data(path: Path) -> dict[str, Any]:
    """What gradio turns into a URL wherever it stands in a component's value."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
