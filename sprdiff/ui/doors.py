"""What gradio would fetch for a visitor, and this page does not.

Gradio opens addresses on the internet in two ways: its file endpoint passes them on, and a file in the input
of an event may be an address instead of an upload. Neither is of use here, and both would let a visitor send
requests from this machine (server-side request forgery).
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 4_000_000
"""Size limit of what an event sends; files are uploaded separately."""
_PROBLEM = "Addresses are not opened here; upload the file."
_SCHEMES = ("http:", "https:")


class Doors:
    """ASGI middleware that refuses, with 403, requests that name an address as a file."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if is_foreign(scope["path"]):
            await PlainTextResponse(_PROBLEM, 403)(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["method"] != "POST" or headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            problem = f"At most {MAX_BODY_BYTES:,} bytes are taken beside uploads."
            await PlainTextResponse(problem, 413)(scope, receive, send)
        elif names_address(body):
            await PlainTextResponse(_PROBLEM, 403)(scope, receive, send)
        else:
            await self._app(scope, _replayed(body, receive), send)


def is_foreign(path: str) -> bool:
    """Whether a path of a request asks gradio's file endpoint for an address, or for another gradio app."""
    for endpoint in ("/file=", "/file/", "/proxy="):
        _, found, target = path.partition(endpoint)
        if found and (endpoint == "/proxy=" or unquote(target).lstrip().lower().startswith(_SCHEMES)):
            return True
    return False


def names_address(body: bytes) -> bool:
    """Whether a file anywhere in this JSON text has an address as its path."""
    try:
        waiting: list[Any] = [json.loads(body)]
    except (ValueError, RecursionError):
        return False  # gradio will not read it either
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and path.lstrip().lower().startswith(_SCHEMES):
                return True
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None if it is too long."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            return None
    return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """``receive`` of a request whose body has been read already."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
