"""What visitors cannot get: addresses fetched, files of the server or of others, their own HTML sent back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from fakes import FakePipeline
from hostile_images import file_of, photo
from visitors import Visitor

from sprdiff.ui import build_app, doors, launch_options


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app = build_app(FakePipeline, model_name="fake")
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **launch_options())
    yield address
    app.close()


@pytest.fixture
def outside() -> Iterator[tuple[str, list[str]]]:
    """The address of another server, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(file_of(photo(), "PNG"))

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/a.png", asked
    server.shutdown()


def file_data(path: str, **more: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}, **more}


def call(address: str, name: str, data: list) -> httpx.Response:
    """What an endpoint for programs answers, or why it takes no call."""
    answer = httpx.post(f"{address}gradio_api/call/{name}", json={"data": data}, timeout=30)
    if answer.status_code != 200:
        return answer
    return httpx.get(f"{address}gradio_api/call/{name}/{answer.json()['event_id']}", timeout=30)


def test_only_this_machine_is_answered(address):
    from sprdiff.cli.serve import serve

    assert urlsplit(address).hostname == "127.0.0.1"
    assert serve.__defaults__ is not None and "127.0.0.1" in serve.__defaults__


@pytest.mark.parametrize("scheme", ["http:", "https:", "HTTP:"])
def test_the_file_endpoint_passes_nothing_on(address, outside, scheme):
    url, asked = outside
    answer = httpx.get(f"{address}gradio_api/file={url.replace('http:', scheme)}")
    assert answer.status_code == 403 and answer.text == "Addresses are not opened here; upload the file."
    assert httpx.get(f"{address}gradio_api/proxy={url}").status_code == 403
    assert asked == []


@pytest.mark.parametrize("name", ["compress", "compare"])
def test_an_address_is_no_upload(address, outside, name):
    url, asked = outside
    more = [["jpeg"]] if name == "compare" else []
    answer = call(address, name, [file_data(url), 0.2, *more])
    assert answer.status_code == 403 and "upload the file" in answer.text
    answer = call(address, name, [file_data("/nowhere/a.png", url=url), 0.2, *more])
    assert "event: error" in answer.text
    assert asked == []


def test_an_address_in_any_other_input_is_refused(address, outside):
    url, asked = outside
    with Visitor(address) as visitor, pytest.raises(RuntimeError, match="upload the file"):
        list(visitor.event("run", "click", [None, {"bpp": 0.1, "x": file_data(url)}, []]))
    assert asked == []


@pytest.mark.parametrize("path", ["/etc/passwd", "pyproject.toml", "../../etc/passwd", "/etc/../etc/passwd"])
def test_files_of_the_server_are_not_opened(address, path):
    assert httpx.get(f"{address}gradio_api/file={path}").status_code in (403, 404)
    answer = call(address, "compress", [file_data(path), 0.2])
    assert "event: error" in answer.text and "root:" not in answer.text
    with (
        Visitor(address) as visitor,
        pytest.raises(RuntimeError, match=r"did not arrive through the page|cannot be accessed"),
    ):
        list(visitor.event("picture-picker", "picked", [{"bpp": 0.1}], {"path": path, "name": "a"}))


def test_files_of_other_visitors_are_served_under_no_name_that_can_be_guessed(address):
    from sprdiff.ui.scratch import PREFIX

    with Visitor(address) as one:
        shown = one.choose("mine.png", file_of(photo(), "PNG"))
        served = Path(shown["panels"][0]["picture"]["path"])
        assert len(served.parent.name) >= 32, "the folder is a hash of the contents"
        assert one.get(shown["panels"][0]["picture"]["url"]).status_code == 200
        # Where the server itself keeps them, it serves nothing.
        for kept in served.parent.parent.parent.glob(f"{PREFIX}*/page-*/*/*.png"):
            assert httpx.get(f"{address}gradio_api/file={kept}").status_code == 403
        for guess in (served.name, f"gradio/{served.name}", f"{served.parent.parent}/*/{served.name}"):
            assert httpx.get(f"{address}gradio_api/file={guess}").status_code in (403, 404)
        assert httpx.get(f"{address}gradio_api/file={served.parent}").status_code == 403


def test_an_uploaded_page_is_a_download(address):
    with Visitor(address) as visitor:
        path = visitor.upload("a.html", b"<script>alert(1)</script>")
        answer = visitor.get(f"/gradio_api/file={path}")
    assert answer.headers["content-type"].startswith("application/octet-stream")
    assert answer.headers["content-disposition"].startswith("attachment")


def test_what_the_browser_sent_is_not_sent_back(address):
    with Visitor(address) as visitor:
        event = {"path": visitor.upload("a.png", file_of(photo(), "PNG")), "name": "<img src=x>.png"}
        old = {"bpp": 0.05, "more": "<script>alert(1)</script>"}
        last = list(visitor.event("picture-picker", "picked", [old], event))[-1]
    assert last["target"] == {"bpp": 0.05, "size": [64, 48]}
    assert "<" not in last["viewer"]["panels"][0]["picture"]["path"]


@pytest.mark.parametrize(
    ("path", "foreign"),
    [
        ("/gradio_api/file=http://a.example/b", True),
        ("/gradio_api/file=https%3A//a.example/b", True),
        ("/file= HTTP://a.example", True),
        ("/gradio_api/proxy=https://a.hf.space/file", True),
        ("/gradio_api/file=/tmp/gradio/1/http.png", False),
        ("/config", False),
    ],
)
def test_paths_that_name_addresses(path, foreign):
    assert doors.is_foreign(path) == foreign


def test_a_long_body_is_refused(address):
    body = b'{"data": ["' + b"x" * doors.MAX_BODY_BYTES + b'"]}'
    answer = httpx.post(f"{address}gradio_api/call/compress", content=body)
    assert answer.status_code == 413 and "4,000,000" in answer.text
