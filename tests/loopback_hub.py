"""A hub on 127.0.0.1, for the real `huggingface_hub`: repositories in memory, and what can fail.

It speaks as much of https://huggingface.co/docs/hub/api as downloads use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")  # kept by Git LFS
GATE = "Access to model {} is restricted and you are not in the authorized list."


class LoopbackHub:
    """Repositories, how they misbehave, and what was asked of them.

    Attributes:
        modes: Repository -> settings: `status` (of every answer), `gated` (files: 401 or 403),
            `missing`, `closed`, `file404`, `hang` (seconds), `cut` (bytes after which the
            connection is dropped, once), `rate` (bytes a second), `size` (path -> size that is
            claimed).
        requests: (method, path, Range header) of every request.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.modes: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        hub = self

        class Handler(_Handler):
            owner = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def clear(self) -> None:
        self.repos.clear()
        self.modes.clear()
        self.requests.clear()

    def put(self, repo: str, files: Mapping[str, bytes], revision: str = "main") -> str:
        """Add a repository, or a revision of one; returns its commit."""
        self.repos.setdefault(repo, {})[revision] = dict(files)
        return commit_of(repo, files)

    def find(self, repo: str, revision: str) -> dict[str, bytes] | None:
        for name, files in self.repos.get(repo, {}).items():
            if revision in (name, commit_of(repo, files)):
                return files
        return None

    @property
    def downloaded(self) -> list[str]:
        """The files that were asked for, without their repository and revision."""
        return [
            path.partition("/resolve/")[2].partition("/")[2]
            for method, path, _ in self.requests
            if method == "GET" and "/resolve/" in path
        ]


def commit_of(repo: str, files: Mapping[str, bytes]) -> str:
    content = [(name, hashlib.sha1(data).hexdigest()) for name, data in sorted(files.items())]
    return hashlib.sha1(json.dumps([repo, content]).encode()).hexdigest()


def tag_of(name: str, data: bytes) -> str:
    """The hash that the hub names a file by: Git LFS's, or Git's."""
    if name.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: LoopbackHub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # whoever asked has gone
            super().handle()

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _say(self, status: int, content: Any = None, **headers: str) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._say(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.owner.requests.append((self.command, path, self.headers.get("Range")))
        parts = path.split("/")
        listing = parts[:2] == ["api", "models"]
        repo = "/".join(parts[2:4] if listing else parts[:2])
        rest = parts[4:] if listing else parts[2:]
        mode = self.owner.modes.get(repo, {})
        time.sleep(mode.get("hang", 0))
        if "status" in mode:
            return self._say(mode["status"], {"error": "no"})
        if repo not in self.owner.repos or mode.get("missing"):
            return self._refuse(404, "RepoNotFound", "Repository not found")
        if mode.get("closed"):
            return self._refuse(403, "DisabledRepo", "Access to this resource is disabled.")
        revision = rest[1] if len(rest) > 1 else "main"
        files = self.owner.find(repo, revision)
        if files is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if listing:
            return self._list(repo, files, mode, tree=rest[:1] == ["tree"])
        if "gated" in mode:
            return self._refuse(mode["gated"], "GatedRepo", GATE.format(repo))
        name = "/".join(rest[2:])
        if name not in files or name == mode.get("file404"):
            return self._refuse(404, "EntryNotFound", "Entry not found")
        return self._send(name, files[name], mode, commit_of(repo, files))

    def _list(
        self, repo: str, files: Mapping[str, bytes], mode: Mapping[str, Any], *, tree: bool
    ) -> None:
        entries = []
        for name, data in sorted(files.items()):
            size = mode.get("size", {}).get(name, len(data))
            entry: dict[str, Any] = {"size": size}
            key = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            if name.endswith(LARGE):
                sha256 = hashlib.sha256(data).hexdigest()
                names = ("oid",) if tree else ("sha256",)
                entry["lfs"] = {**dict.fromkeys(names, sha256), "size": size, "pointerSize": 130}
            if tree:
                entries.append({"type": "file", "path": name, "oid": key, **entry})
            else:
                entries.append({"rfilename": name, "blobId": key, **entry})
        if tree:
            return self._say(200, entries)
        answer = {"id": repo, "modelId": repo, "sha": commit_of(repo, files), "private": False}
        gate = "manual" if "gated" in mode else False
        more = {
            "_id": "1",
            "gated": gate,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
        return self._say(200, {**answer, **more, "siblings": entries})

    def _send(self, name: str, data: bytes, mode: dict[str, Any], commit: str) -> None:
        start = 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if asked else 200)
        tag = f'"{tag_of(name, data)}"'
        for header, value in (
            ("ETag", tag),
            ("X-Linked-Etag", tag),
            ("X-Linked-Size", len(data)),
            ("X-Repo-Commit", commit),
            ("Accept-Ranges", "bytes"),
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", len(data) - start),
        ):
            self.send_header(header, str(value))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = mode.pop("cut", None) if name.endswith(LARGE) else None
        end = len(data) if cut is None else min(len(data), start + cut)
        step = max(1, int(mode["rate"] / 20)) if "rate" in mode else 1 << 20
        for place in range(start, end, step):
            self.wfile.write(data[place : min(place + step, end)])
            if "rate" in mode:
                time.sleep(1 / 20)
        if cut is not None:
            self.close_connection = True
