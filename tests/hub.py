"""A Hugging Face Hub on 127.0.0.1: the endpoints its client downloads a snapshot with, and uploads with.

Uploads are kept as git blobs, whatever their size; the Hub's storage of large files is not emulated.

In a test, with the client in another process, because it reads its environment when it is imported:

    with HubServer({"main": folder}) as hub:
        subprocess.run(command, env=os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path)})

By hand: ``python tests/hub.py FOLDER`` serves a checkpoint folder as ``sprdiff/tiny`` until it is stopped.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REPO_ID = "sprdiff/tiny"
TOKEN = "hf_writer"
"""May write to what the owner of the served repository owns."""


Answer = tuple[int, dict[str, str], bytes]


class HubServer:
    """Serves one folder a revision, and what is uploaded; a context manager.

    Args:
        revisions: branch or tag to the folder it holds; each also answers to its commit hash.
        repo_id: the id it is served as; others are unknown until they are made.
        extra: path to content of files that no folder can hold, listed in every revision.
    Attributes:
        endpoint: value for ``HF_ENDPOINT``.
        commits: branch or tag to its commit, 40 hexadecimal digits.
        requests: method and path of every request so far.
        readers: the tokens that came with requests to read; empty for one without.
        status: where set, every request is answered with this HTTP status and nothing else.
        broken: where set, a request whose path holds this text gets half of its answer; one that writes is
            not carried out, and gets none.
        ignored: where set, a path that is left out of what is uploaded, as the Hub's own rules may.
        created: what the client asked for with each new repository.
        hardware: repository of a Space to the hardware that was asked for once it existed.
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
        self.readers: set[str] = set()
        self.status: int | None = None
        self.broken: str | None = None
        self.ignored: str | None = None
        self.created: list[dict] = []
        self.hardware: dict[str, str] = {}
        self.commits: dict[str, str] = {}
        self._branches: dict[str, dict[str, str]] = {f"models/{repo_id}": self.commits} if revisions else {}
        self._trees: dict[str, dict[str, bytes]] = {}
        for name, folder in revisions.items():
            tree = {
                file.relative_to(folder).as_posix(): file.read_bytes()
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            }
            self.commits[name] = self._store(tree | dict(extra or {}))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def files(self, repository: str, revision: str = "main") -> dict[str, bytes]:
        """What ``models/owner/name`` or ``spaces/owner/name`` holds."""
        return self._trees[self._branches[repository][revision]]

    def answer(self, path: str) -> Answer:
        """Status, headers and body for what is read: a path without its query."""
        if self.status is not None:
            return self.status, {}, b""
        match = re.fullmatch(r"/api/((?:models|spaces)/[^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        repository, kind, revision = match.groups() if match else (None, None, None)
        if file:
            repository, kind, revision = f"models/{file[1]}", "resolve", file[2]
        if repository not in self._branches:
            return _refusal(404, "Repository not found", "RepoNotFound")
        commit = self._branches[repository].get(revision or "main", revision)
        if commit not in self._trees:
            return _refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        if kind == "resolve":
            return self._answer_file(commit, file[3])
        tree = self._trees[commit]
        if kind == "tree":
            return _json([_entry(path, data) for path, data in tree.items()])
        repo_id = repository.partition("/")[2]
        private = any(
            each["id"] == repository and each.get("visibility") == "private" for each in self.created
        )
        siblings = [{"rfilename": path} for path in tree]
        return _json({"id": repo_id, "sha": commit, "private": private, "siblings": siblings})

    def write(self, path: str, body: bytes, token: str) -> Answer:
        """Status, headers and body for what is written."""
        if self.status is not None:
            return self.status, {}, b""
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if token != TOKEN:
            return _refusal(401, "Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        match = re.fullmatch(
            r"/api/((?:models|spaces)/[^/]+/[^/]+)/(preupload|commit|branch|hardware)(?:/(.+))?", path
        )
        if match is None or match[1] not in self._branches:
            return _refusal(404, "Repository not found", "RepoNotFound")
        repository, action, revision = match.groups()
        if repository.split("/")[1] != self.repo_id.split("/")[0]:
            return _refusal(403, "Forbidden")
        branches = self._branches[repository]
        if action == "hardware":
            self.hardware[repository] = json.loads(body)["flavor"]
            return _json({"stage": "BUILDING", "hardware": {"requested": self.hardware[repository]}})
        if action == "branch":
            if revision in branches:
                return _refusal(409, "Reference already exists")
            branches[revision] = branches["main"]
            return _json({})
        tree = self._trees[branches[revision]]
        if action == "preupload":
            wanted = [each["path"] for each in json.loads(body)["files"]]
            known = {path: _entry(path, tree[path])["oid"] for path in wanted if path in tree}
            return _json(
                {
                    "files": [
                        {
                            "path": path,
                            "uploadMode": "regular",
                            "shouldIgnore": path == self.ignored,
                            "oid": known.get(path),
                        }
                        for path in wanted
                    ]
                }
            )
        tree = dict(tree)
        for line in body.splitlines():
            operation = json.loads(line)
            if operation["key"] == "file":
                tree[operation["value"]["path"]] = base64.b64decode(operation["value"]["content"])
            elif operation["key"] == "deletedFile":
                del tree[operation["value"]["path"]]
        branches[revision] = self._store(tree)
        url = f"{self.endpoint}/{repository.removeprefix('models/')}/commit/{branches[revision]}"
        return _json({"commitUrl": url, "commitOid": branches[revision]})

    def _create(self, wanted: dict) -> Answer:
        repository = f"{wanted.get('type', 'model')}s/{wanted['organization']}/{wanted['name']}"
        if wanted["organization"] != self.repo_id.split("/")[0]:
            return _refusal(403, "You have no right to create a repository there")
        if repository in self._branches:
            return _refusal(409, "You already created this repository")
        self.created.append(wanted | {"id": repository})
        self._branches[repository] = {"main": self._store({".gitattributes": b""})}
        return _json({"url": f"{self.endpoint}/{repository.removeprefix('models/')}"})

    def _store(self, tree: dict[str, bytes]) -> str:
        """The commit of a tree, which is kept."""
        summary = json.dumps({path: hashlib.sha256(data).hexdigest() for path, data in tree.items()})
        commit = hashlib.sha1(summary.encode()).hexdigest()
        self._trees[commit] = tree
        return commit

    def _answer_file(self, commit: str, name: str) -> Answer:
        data = self._trees[commit].get(name)
        if data is None:
            return _refusal(404, f"{name} does not exist", "EntryNotFound")
        etag = f'"{_entry(name, data)["oid"]}"'
        headers = {"ETag": etag, "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if name.endswith(".safetensors"):
            headers |= {
                "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
                "X-Linked-Size": str(len(data)),
            }
        return 200, headers, data


def _entry(path: str, data: bytes) -> dict:
    """One file of the tree listing; weights are listed as large files, like on the Hub."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict = {"type": "file", "path": path, "size": len(data), "oid": blob}
    if path.endswith(".safetensors"):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return entry


def _json(value: object) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()


def _refusal(status: int, message: str, code: str = "") -> Answer:
    body = json.dumps({"error": message}).encode()
    headers = {"Content-Type": "application/json", "X-Error-Message": message}
    return status, headers | ({"X-Error-Code": code} if code else {}), body


def _handler_for(hub: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            hub.readers.add(self.headers.get("Authorization", "").removeprefix("Bearer "))
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
                broken = hub.broken is not None and hub.broken in path
                self.wfile.write(body[start : start + (len(body) - start) // 2] if broken else body[start:])
                self.close_connection = self.close_connection or broken

        do_HEAD = do_GET

        def do_POST(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            request = self.rfile.read(int(self.headers["Content-Length"]))
            if hub.broken is not None and hub.broken in path:
                self.close_connection = True
                return
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status, headers, body = hub.write(path, request, token)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

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
