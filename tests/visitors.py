"""Visitors of the page over HTTP, without a browser: what its scripts send and receive."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from gradio_client.utils import apply_diff

LONGEST_SECONDS = 900
REPOSITORY = Path(__file__).resolve().parent.parent


def start_server(temporary: Path) -> tuple[subprocess.Popen[str], str]:
    """``sprdiff serve`` in a process of its own, and its address; its temporary files are in ``temporary``.

    Raises:
        RuntimeError: it ended before it was up.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": str(REPOSITORY)}
    # What is measured depends neither on a machine's allocator nor on what another test has set for gradio.
    unset = ("MALLOC_", "GRADIO_")
    environment = {key: value for key, value in environment.items() if not key.startswith(unset)}
    command = [sys.executable, "-u", "-m", "sprdiff", "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=temporary, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    # The last line that gradio prints: before it, it requests its own page and must not be kept busy.
    while "public link" not in (line := server.stdout.readline()):
        if not line:
            raise RuntimeError(f"sprdiff serve ended with {server.wait()}")
    return server, f"http://127.0.0.1:{port}/"


class Visitor:
    """One open page of the server at ``address``; a context manager, which leaves as a browser does.

    Attributes:
        notes: what the status line said, once each, in order.
    """

    def __init__(self, address: str) -> None:
        self.notes: list[str] = []
        self._http = httpx.Client(base_url=address, timeout=httpx.Timeout(60, read=LONGEST_SECONDS))
        self._session = secrets.token_hex(6)
        self._left = False
        config = self._http.get("/config").json()
        ids = {each["id"]: each["props"].get("elem_id") for each in config["components"]}
        self._outputs = {
            each["id"]: [ids.get(out) for out in each["outputs"]] for each in config["dependencies"]
        }
        self._events = {
            (ids.get(target), event): each["id"]
            for each in config["dependencies"]
            for target, event in each["targets"]
        }
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Closes the page, whatever is going on."""
        self._left = True
        self._http.close()

    def get(self, path: str) -> httpx.Response:
        """A GET of an address on the server."""
        return self._http.get(path)

    def upload(self, name: str, data: bytes) -> str:
        """Where the server put a file."""
        answer = self._http.post("/gradio_api/upload", files={"files": (name, data)})
        return answer.raise_for_status().json()[0]

    def choose(self, name: str, data: bytes) -> dict[str, Any]:
        """What the viewer shows after a picture was dropped."""
        event = {"path": self.upload(name, data), "name": name}
        return list(self.event("picture-picker", "picked", [{"bpp": 0.03}], event))[-1]["viewer"]

    def compare(self, bpp: float, methods: list[str]) -> dict[str, Any]:
        """What the viewer shows when the run has ended.

        Raises:
            RuntimeError: the server said a sentence instead.
        """
        shown: dict[str, Any] = {}
        for frame in self.event("run", "click", [None, {"bpp": bpp}, methods]):
            shown = frame.get("viewer") or shown
        return shown

    def event(
        self, element: str, event: str, data: list[Any], event_data: dict[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """The outputs of an event by the id of their elements, each time the server sends some."""
        index = self._events[element, event]
        body = {"fn_index": index, "data": data, "event_data": event_data, "session_hash": self._session}
        answer = self._http.post("/gradio_api/queue/join", json=body)
        if answer.status_code != 200:
            raise RuntimeError(answer.text)
        latest: list[Any] = []
        with self._http.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": self._session}
        ) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") == "process_generating" and message["success"]:
                    new = message["output"]["data"]  # differences to the message before, after the first
                    latest = list(map(apply_diff, latest, new)) if latest else new
                    yield self._named(index, latest)
                elif message.get("msg") == "process_completed":
                    if not message["success"]:
                        raise RuntimeError(message["output"].get("error"))
                    if message["output"].get("data"):
                        yield self._named(index, message["output"]["data"])
                elif message.get("msg") == "close_stream":
                    # Not before: the server takes a stream that breaks off for a page that was closed.
                    return

    def _named(self, index: int, values: list[Any]) -> dict[str, Any]:
        updates = [
            value.get("value") if isinstance(value, dict) and "__type__" in value else value
            for value in values
        ]
        named = dict(zip(self._outputs[index], updates, strict=True))
        status = named.get("status")
        if isinstance(status, str) and (not self.notes or self.notes[-1] != status):
            self.notes.append(status)
        return named

    def _beat(self) -> None:
        """A page keeps this request open; when it ends, the server knows that the page is closed."""
        try:
            with self._http.stream("GET", f"/gradio_api/heartbeat/{self._session}") as stream:
                for _ in stream.iter_raw():
                    if self._left:
                        return
        except (httpx.HTTPError, RuntimeError):
            return


def wait(condition: Any, seconds: float = 60) -> bool:
    """Whether ``condition()`` came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False
