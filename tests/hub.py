"""A Hugging Face Hub on 127.0.0.1: one repository, the endpoints its client downloads a snapshot with.

In a test, with the client in another process, because it reads its environment when it is imported:

    with HubServer({"main": folder}) as hub:
        subprocess.run(command, env=os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)})

By hand: ``python tests/hub.py FOLDER`` serves a checkpoint folder as ``sprdiff/tiny`` until it is stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO_ID = "sprdiff/tiny"


class HubServer:
    """Serves one folder a revision; a context manager.

    Args:
        revisions: branch or tag to the folder it holds; each also answers to its commit hash.
        repo_id: the id it is served as, any other is unknown.
        extra: path to content of files that no folder can hold, listed in every revision.
    Attributes:
        endpoint: value for ``HF_ENDPOINT``.
        commits: branch or tag to its commit, 40 hexadecimal digits.
        requests: method and path of every request so far.
        status: where set, every request is answered with this HTTP status and nothing else.
    """

    def __init__(
        self,
        revisions: Mapping[str, Path],
        *,
        repo_id: str = REPO_ID,
        extra: Mapping[str, bytes] | None = None,
    ):
        self.repo_id = repo_id
        self.requests: list[str] = []
        self.status: int | None = None
        self.commits: dict[str, str] = {}
        self._trees: dict[str, dict[str, bytes]] = {}
        for name, folder in revisions.items():
            tree = {
                file.relative_to(folder).as_posix(): file.read_bytes()
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            }
            tree.update(extra or {})
            summary = json.dumps({path: hashlib.sha256(data).hexdigest() for path, data in tree.items()})
            commit = hashlib.sha1(summary.encode()).hexdigest()
            self.commits[name] = commit
            self._trees[commit] = tree
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path without its query."""
        if self.status is not None:
            return self.status, {}, b""
        api = f"/api/models/{self.repo_id}/"
        files = f"/{self.repo_id}/resolve/"
        if path == api[:-1]:
            return self._answer_info("main")
        if path.startswith(api):
            kind, _, revision = path.removeprefix(api).partition("/")
            answers = {"revision": self._answer_info, "tree": self._answer_tree}
            if kind in answers:
                return answers[kind](revision)
        elif path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            return self._answer_file(revision, name)
        return _refusal("RepoNotFound", "Repository not found")

    def _answer_info(self, revision: str) -> tuple[int, dict[str, str], bytes]:
        commit = self._commit(revision)
        if commit is None:
            return _refusal("RevisionNotFound", f"Invalid rev id: {revision}")
        siblings = [{"rfilename": path} for path in self._trees[commit]]
        return _json({"id": self.repo_id, "modelId": self.repo_id, "sha": commit, "siblings": siblings})

    def _answer_tree(self, revision: str) -> tuple[int, dict[str, str], bytes]:
        commit = self._commit(revision)
        if commit is None:
            return _refusal("RevisionNotFound", f"Invalid rev id: {revision}")
        return _json([_entry(path, data) for path, data in self._trees[commit].items()])

    def _answer_file(self, revision: str, name: str) -> tuple[int, dict[str, str], bytes]:
        commit = self._commit(revision)
        if commit is None:
            return _refusal("RevisionNotFound", f"Invalid rev id: {revision}")
        data = self._trees[commit].get(name)
        if data is None:
            return _refusal("EntryNotFound", f"{name} does not exist")
        etag = f'"{_entry(name, data)["oid"]}"'
        headers = {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if name.endswith(".safetensors"):
            headers |= {
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Linked-Size": str(len(data)),
            }
        return 200, headers, data

    def _commit(self, revision: str) -> str | None:
        revision = self.commits.get(revision, revision)
        return revision if revision in self._trees else None


def _entry(path: str, data: bytes) -> dict:
    """One file of the tree listing; weights are listed as large files, like on the Hub."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if path.endswith(".safetensors"):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def _json(value: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _refusal(code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"error": message}).encode()
    return 404, {"Content-Type": "application/json", "X-Error-Code": code, "X-Error-Message": message}, body


def _handler_for(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            status, headers, body = hub.answer(path)
            start = self._range_start() if status == 200 else 0
            if start:
                status, headers = (
                    206,
                    headers | {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"},
                )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[start:])

        do_HEAD = do_GET

        def _range_start(self) -> int:
            value = self.headers.get("Range", "")
            return int(value.removeprefix("bytes=").partition("-")[0] or 0) if value else 0

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent: ``HubServer.requests`` is the log."""

    return Handler


if __name__ == "__main__":
    with HubServer({"main": Path(sys.argv[1])}) as server:
        print(f"HF_ENDPOINT={server.endpoint} serves {REPO_ID}, commit {server.commits['main']}", flush=True)
        threading.Event().wait()
