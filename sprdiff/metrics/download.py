"""Weights that libraries fetch by themselves, fetched here: with a time limit, resumed, once for everybody.

Neither torch.hub's downloader nor torchvision's on top of it serves here: it begins anew after every break,
waits for a silent network without end, says how far it is on a terminal only, and lets every process download
for itself. That of huggingface_hub takes its own repositories only.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import os
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sprdiff.errors import WeightsError

if TYPE_CHECKING:
    from tqdm import tqdm

CONNECT_SECONDS = 3.0
READ_SECONDS = 15.0
RETRY_SECONDS = (0.5, 2.0, 5.0, 10.0)
"""Pauses before a broken download goes on; they begin again once bytes have arrived."""

_CHUNK = 1 << 18
_DIGITS = re.compile(r"-([0-9a-f]{8,64})\.[^/]*$")
_failures: dict[str, str] = {}  # host or URL -> reason
_running: dict[Path, Download] = {}


@dataclass(frozen=True)
class Download:
    """A file on its way; ``total`` is None as long as its size in bytes is not known."""

    name: str
    received: int = 0
    total: int | None = None


def downloads() -> list[Download]:
    """What this process is fetching."""
    return list(_running.values())


def cached_weights(
    url: str,
    folder: str,
    *,
    cut: Callable[[Path, Path], None] | None = None,
    name: str | None = None,
) -> Path:
    """The file of ``url`` in ``folder`` of torch's cache, downloaded if it is not there.

    What has arrived before the connection broke, or the process ended, is kept and not fetched again. Of
    several processes and threads one downloads and the others wait for it. What failed is not tried again in
    this process. With ``HF_HUB_OFFLINE=1`` the cache alone answers.

    Args:
        url: of the weights; the last part of its path is the name of the file, and digits in it, as in
            ``name-0123abcd.pth``, begin the SHA-256 of what must arrive.
        folder: inside ``torch.hub.get_dir()``, where the library that reads the file looks for it.
        cut: writes what is kept of the file, its first argument, to its second; all of it without.
        name: of the file in the cache, if it is another one.
    Raises:
        WeightsError: there is no network, the server refuses, the file is not the one expected, or the cache
            cannot be written.
    """
    import torch
    from filelock import FileLock

    name = name or Path(urlsplit(url).path).name
    path = Path(torch.hub.get_dir()) / folder / name
    if path.exists():
        return path
    _raise_if_hopeless(url)
    with _storing(url, path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{name}.lock")):
            if not path.exists():
                _raise_if_hopeless(url)
                _running[path] = Download(name)
                try:
                    _fetch(url, path, cut)
                finally:
                    del _running[path]
    return path


def _raise_if_hopeless(url: str) -> None:
    host = urlsplit(url).netloc
    for key in (host, url):
        if key in _failures:
            raise WeightsError(_failures[key])
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise WeightsError("its weights are not here and HF_HUB_OFFLINE forbids to fetch them")


def _failed(key: str, reason: str) -> WeightsError:
    _failures[key] = reason
    return WeightsError(reason)


@contextmanager
def _storing(url: str, folder: Path) -> Iterator[None]:
    """Turns errors of the file system into one that names the folder, and is remembered."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of our own: the file is not the one expected
            raise
        reason = error.strerror or str(error)
        raise _failed(url, f"its weights cannot be stored in {folder} ({reason})") from error


def _fetch(url: str, path: Path, cut: Callable[[Path, Path], None] | None) -> None:
    """Download to a partial file, check it, and put it, or what is cut from it, at ``path``."""
    partial, kept = path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.cut")
    host = urlsplit(url).netloc
    try:
        _receive(url, path, partial)
        with open(partial, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        expected = _DIGITS.search(url)
        if expected is not None and not digest.startswith(expected[1]):
            partial.unlink()
            raise OSError(f"the SHA-256 does not begin with {expected[1]}")
        with _storing(url, path.parent):
            if cut is None:
                os.replace(partial, path)
            else:
                cut(partial, kept)
                os.replace(kept, path)
                partial.unlink()
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, f"downloading its weights from {host} failed ({error})") from error
    finally:
        kept.unlink(missing_ok=True)


def _receive(url: str, path: Path, partial: Path) -> None:
    """Append to ``partial`` until it is whole, connecting again where the connection breaks."""
    from tqdm import tqdm

    pauses, connected = iter(RETRY_SECONDS), False
    # On stderr, and only where that is a terminal.
    with tqdm(desc=path.name, unit="B", unit_scale=True, disable=None) as bar:
        while True:
            before = partial.stat().st_size if partial.exists() else 0
            try:
                with _open(url, before, again=connected) as response:
                    connected = True
                    _append(response, url, path, partial, bar)
                return
            except urllib.error.HTTPError as error:
                if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    raise
                return  # it is whole, or of no use, as its hash will tell
            except (OSError, http.client.HTTPException):
                if partial.exists() and partial.stat().st_size > before:
                    pauses = iter(RETRY_SECONDS)
                pause = next(pauses, None)
                if pause is None:
                    raise
                time.sleep(pause)


def _open(url: str, start: int, *, again: bool) -> http.client.HTTPResponse:
    """The response to a GET of ``url`` from byte ``start`` on; ``again``: the server has answered before.

    Raises:
        WeightsError: the server cannot be reached, or refuses.
        OSError: it cannot be reached this time, or has nothing beyond ``start``.
    """
    host = urlsplit(url).netloc
    try:
        return _connect(url, start)
    except (OSError, http.client.HTTPException) as error:
        # An HTTP status concerns this file; anything else, the whole server.
        if isinstance(error, urllib.error.HTTPError):
            if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            key, cause = url, str(error)
        elif again:
            raise
        else:
            key, cause = host, str(getattr(error, "reason", error))  # less of urllib's wrapping
        raise _failed(key, f"its weights are not here and {host} does not give them ({cause})") from error


def _connect(url: str, start: int) -> http.client.HTTPResponse:
    """The response to a GET of ``url``, or an ``OSError`` after at most ``CONNECT_SECONDS``."""
    answers: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})

    def attempt() -> None:
        try:
            answers.put(urllib.request.urlopen(request, timeout=READ_SECONDS))
        except Exception as error:  # raised again by the caller, whatever it is
            answers.put(error)

    # In a thread, because no socket timeout covers the resolution of the host's name.
    threading.Thread(target=attempt, daemon=True).start()
    try:
        answer = answers.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS:.0f} seconds") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _append(response: http.client.HTTPResponse, url: str, path: Path, partial: Path, bar: tqdm) -> None:
    """Write the body to the end of ``partial``, or anew where the server sends the whole file again.

    Raises:
        WeightsError: it cannot be written.
        OSError: fewer bytes arrived than were promised.
    """
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
    length = response.headers.get("Content-Length")
    with _storing(url, partial.parent):
        # Unbuffered: closing it after a failed write would fail once more, with an error of its own.
        file = open(partial, "ab" if resumed else "wb", buffering=0)  # noqa: SIM115 (closed below)
    with file:
        received = file.tell()
        total = None if length is None else received + int(length)
        bar.total = total
        bar.update(received - bar.n)
        _running[path] = Download(path.name, received, total)
        while chunk := response.read1(_CHUNK):
            with _storing(url, partial.parent):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]
            received += len(chunk)
            bar.update(len(chunk))
            _running[path] = Download(path.name, received, total)
    if total not in (None, received):
        raise OSError(f"{received} bytes of {total} arrived")
