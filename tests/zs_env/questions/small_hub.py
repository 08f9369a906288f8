"""A hub on this machine: enough of the Hugging Face hub's HTTP interface for `datasets` to read data sets from it.

    with SmallHub() as hub:
        hub.add("someone/qa", {"README.md": "…", "train.jsonl": "…"})
        subprocess.run([...], env={**os.environ, **hub.environment(home)})

`HF_ENDPOINT` is read when huggingface_hub is imported, so whatever is to ask this hub runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml


@dataclass
class Repository:
    """A data set: its commits, each with its files, newest last."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    token: str | None = None
    """The token that may read it; None if all may."""
    gated: bool = False
    """Whether a stranger is told that it exists."""
    refs: dict[str, str] = field(default_factory=dict)


class SmallHub:
    """The server; a context manager."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.moved: dict[str, str] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.hang = ""
        """Requests whose path holds this are never answered."""
        self.fail: dict[str, int] = {}
        """A status for requests whose path holds the key."""
        self.tokens: set[str] = set()
        """Tokens that the hub knows; others are refused wherever they are shown, if there are any."""
        self._closing = threading.Event()

    def __enter__(self) -> SmallHub:
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, identifier: str, files: Mapping[str, str | bytes], **more: Any) -> str:
        """Add a data set, or a commit to one that is there; gives the commit."""
        repository = self.repositories.setdefault(identifier, Repository(**more))
        held = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
        told = f"{identifier}{len(repository.commits)}{sorted(held.items())}"
        commit = hashlib.sha1(told.encode()).hexdigest()
        repository.commits[commit] = held
        repository.refs["main"] = commit
        return commit

    def environment(self, home: Path) -> dict[str, str]:
        """What a process needs to ask this hub and nobody else."""
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        return {**keep, "HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}


class _Handler(BaseHTTPRequestHandler):
    hub: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *told: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if self.hub.hang and self.hub.hang in parts.path:
            while not self.hub._closing.wait(0.05):
                pass
            self.close_connection = True
            return
        status = next((status for part, status in self.hub.fail.items() if part in parts.path), None)
        if status is not None:
            return self._send(status, b"{}")
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        if token and self.hub.tokens and token not in self.hub.tokens:
            return self._refuse(401, None, "Invalid credentials in Authorization header")
        names = [unquote(name) for name in parts.path.strip("/").split("/")]
        names = names[1:] if names[0] == "api" else names
        if len(names) < 3 or names[0] != "datasets":
            return self._send(404, b"{}")
        identifier, rest = "/".join(names[1:3]), names[3:]
        if identifier in self.hub.moved:
            new = parts.path.replace(identifier, self.hub.moved[identifier], 1)
            return self._send(307, b"", Location=f"{new}?{parts.query}" if parts.query else new)
        repository = self.hub.repositories.get(identifier)
        if repository is None or (repository.token and not repository.gated and token != repository.token):
            # As the real one: who shows no token isn't told whether there is such a data set.
            return self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        if repository.token and token != repository.token and (rest[:1] != ["revision"] and rest):
            return self._refuse(403 if token else 401, "GatedRepo", f"Access to dataset {identifier} is restricted.")
        action, revision = (rest[0], rest[1]) if rest else ("revision", "main")
        commit = repository.refs.get(revision, revision)
        files = repository.commits.get(commit)
        if files is None:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        path = "/".join(rest[2:])
        if action == "revision":
            return self._send(200, json.dumps(self._info(identifier, repository, commit, files)).encode())
        if action == "tree":
            recursive = parse_qs(parts.query).get("recursive", ["false"])[0].casefold() == "true"
            return self._tree(files, path, recursive)
        if action == "paths-info":
            asked = parse_qs(body.decode()).get("paths", []) if b"{" not in body else json.loads(body)["paths"]
            return self._send(200, json.dumps([_entry(name, files[name]) for name in asked if name in files]).encode())
        if action == "resolve":
            return self._file(files, path, commit)
        return self._send(404, b"{}")

    def _info(self, identifier: str, repository: Repository, commit: str, files: Mapping[str, bytes]) -> dict[str, Any]:
        card = files.get("README.md", b"").decode().split("---\n")
        return {
            "_id": "0",
            "id": identifier,
            "sha": commit,
            "private": False,
            "gated": "manual" if repository.gated else False,
            "tags": [],
            "lastModified": "2026-01-01T00:00:00.000Z",
            "siblings": [{"rfilename": name} for name in files],
            "cardData": yaml.safe_load(card[1]) if len(card) > 2 else {},
        }

    def _tree(self, files: Mapping[str, bytes], path: str, recursive: bool) -> None:
        below = f"{path}/" if path else ""
        entries: dict[str, dict[str, Any]] = {}
        for name, content in files.items():
            if not name.startswith(below):
                continue
            first, *deeper = name[len(below) :].split("/")
            if deeper:
                entries[below + first] = {"type": "directory", "path": below + first, "size": 0, "oid": "0"}
            if not deeper or recursive:
                entries[name] = _entry(name, content)
        if not entries and path:
            return self._refuse(404, "EntryNotFound", f"{path} does not exist")
        return self._send(200, json.dumps(list(entries.values())).encode())

    def _file(self, files: Mapping[str, bytes], path: str, commit: str) -> None:
        if path not in files:
            return self._refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": commit})
        content = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_oid(content)}"', "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
            return self._send(206, content[begin : end + 1], **headers)
        return self._send(200, content, **headers)

    def _refuse(self, status: int, code: str | None, message: str, **headers: str) -> None:
        told = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}
        self._send(status, json.dumps({"error": message}).encode(), **told)

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.hub.requests.append((self.command, self.path, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}
