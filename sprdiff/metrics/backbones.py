"""Pretrained weights that the perceptual metrics need: taken from torch's cache, or fetched into it once.

torchvision and pyiqa would download by themselves, but without a time limit: on a machine without network a
page would hang. Here a connection has ``CONNECT_SECONDS``, and what failed once is not tried again in this
process.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import os
import queue
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from sprdiff.errors import WeightsError

CONNECT_SECONDS = 3.0
READ_SECONDS = 15.0

_P = ParamSpec("_P")
_T = TypeVar("_T")
_fetching = threading.Lock()
_failures: dict[str, str] = {}  # host or URL -> reason


def built_once(build: Callable[_P, _T]) -> Callable[_P, _T]:
    """``build`` for threads: the first call with given arguments makes the object, the others share it."""
    cached, lock = functools.cache(build), threading.Lock()

    @functools.wraps(build)
    def locked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with lock:
            return cached(*args, **kwargs)

    locked.cache_clear = cached.cache_clear
    return locked


def cached_weights(url: str, folder: str, sha256_prefix: str = "") -> Path:
    """The file of ``url`` in ``folder`` of torch's cache, downloaded if it is not there.

    Args:
        url: of the weights; the last part of its path is the name of the file.
        folder: inside ``torch.hub.get_dir()``, where the library that reads the file looks for it.
        sha256_prefix: first hexadecimal digits of the SHA-256, checked after a download.
    Raises:
        WeightsError: there is no network, the server refuses, or the file is not the one expected.
    """
    import torch

    path = Path(torch.hub.get_dir()) / folder / Path(urlsplit(url).path).name
    with _fetching:
        if path.exists():
            return path
        host = urlsplit(url).netloc
        for key in (host, url):
            if key in _failures:
                raise WeightsError(_failures[key])
        try:
            response = _connect(url)
        except (OSError, http.client.HTTPException) as error:
            # An HTTP status concerns this file; anything else, the whole server.
            if isinstance(error, urllib.error.HTTPError):
                key, cause = url, str(error)
            else:
                key, cause = host, getattr(error, "reason", error)  # less of urllib's wrapping
            reason = f"its weights are not here and {host} does not give them ({cause})"
            raise _failed(key, reason) from error
        try:
            with response:
                _store(response, path, sha256_prefix)
        except (OSError, http.client.HTTPException) as error:
            raise _failed(url, f"downloading its weights from {host} failed ({error})") from error
    return path


def _failed(key: str, reason: str) -> WeightsError:
    _failures[key] = reason
    return WeightsError(reason)


def _connect(url: str) -> http.client.HTTPResponse:
    """The response to a GET of ``url``, or an ``OSError`` after at most ``CONNECT_SECONDS``."""
    answers: queue.Queue[http.client.HTTPResponse | Exception] = queue.Queue()

    def attempt() -> None:
        try:
            answers.put(urllib.request.urlopen(url, timeout=READ_SECONDS))
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


def _store(response: http.client.HTTPResponse, path: Path, sha256_prefix: str) -> None:
    """Write the body to ``path``, which appears only once it is whole and has the right hash."""
    from tqdm import tqdm

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    digest, received = hashlib.sha256(), 0
    expected = int(response.headers.get("Content-Length", 0)) or None
    try:
        # On stderr, and only where that is a terminal.
        with (
            open(partial, "xb") as file,
            tqdm(desc=path.name, total=expected, unit="B", unit_scale=True, disable=None) as bar,
        ):
            while chunk := response.read(1 << 20):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                bar.update(len(chunk))
        if expected not in (None, received):
            raise OSError(f"{received} bytes of {expected} arrived")
        if not digest.hexdigest().startswith(sha256_prefix):
            raise OSError(f"the SHA-256 does not begin with {sha256_prefix}")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
