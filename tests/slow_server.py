"""A server of files on 127.0.0.1 that is as slow and as unreliable as a test wants it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 1000


class SlowServer:
    """Serves ``files`` by name; a context manager.

    Args:
        files: name to content.
        seconds: for each ``CHUNK`` bytes.
        breaks: after so many bytes of a body the connection is closed; False serves it whole.
        ranges: whether the header ``Range`` is understood.
    Attributes:
        requests: name and first byte of each request.
        held_at: where set, a body stops at this byte until ``go_on`` is set.
    """

    def __init__(
        self, files: Mapping[str, bytes], *, seconds: float = 0.0, breaks: int = 0, ranges: bool = True
    ) -> None:
        self.requests: list[tuple[str, int]] = []
        self.held_at: int | None = None
        self.go_on = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.strip("/")
                start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if ranges else 0
                server.requests.append((name, start))
                if name not in files:
                    self.send_error(404)
                    return
                body = files[name][start:]
                if start and not body:
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for at in range(0, len(body[: breaks or None]), CHUNK):
                    if at == server.held_at:
                        server.go_on.wait(120)
                    self.wfile.write(body[: breaks or None][at : at + CHUNK])
                    time.sleep(seconds)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> SlowServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
