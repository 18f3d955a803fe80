"""A hub on this machine: the few endpoints that pushing and fetching a repository take.

It speaks to the real client (huggingface_hub), so revisions, etags, the cache and offline mode are
the client's own. A commit is named by the hash of its files; every path that is asked for is noted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

Files = dict[str, bytes]


class FakeHub:
    """Repositories in memory."""

    def __init__(self) -> None:
        self.refs: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.fetched: list[str] = []
        self.refuses: int | None = None
        """Status with which every request is refused."""

    def commit(self, repo: str, files: Files, revision: str = "main") -> str:
        refs = self.refs.setdefault(repo, {})
        whole = {**self.commits.get(refs.get(revision, ""), {}), **files}
        oid = hashlib.sha1(repr(sorted(whole.items())).encode()).hexdigest()
        self.commits[oid] = whole
        refs[revision] = oid
        return oid

    def files(self, repo: str, revision: str) -> tuple[str, Files] | None:
        oid = self.refs[repo].get(revision, revision)
        return (oid, self.commits[oid]) if oid in self.commits else None


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if self.hub.refuses is not None:
            self._error(self.hub.refuses, "")
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told.get('organization') or 'me'}/{told['name']}"
            self.hub.refs.setdefault(name, {})
            self._json({"url": f"http://{self.headers['Host']}/{name}", "name": name})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/(.+)", path):
            self._change(found[1], found[2], found[3], body)
        else:
            self._error(404, "RepoNotFound")

    def _change(self, repo: str, verb: str, revision: str, body: bytes) -> None:
        refs = self.hub.refs[repo]
        if verb == "preupload":
            paths = [entry["path"] for entry in json.loads(body)["files"]]
            modes = [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]
            self._json({"files": modes})
        elif verb == "branch":
            refs.setdefault(revision, refs.get("main", ""))
            self._json({})
        else:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            made = {file["path"]: base64.b64decode(file["content"]) for file in files}
            oid = self.hub.commit(repo, made, revision)
            url = f"http://{self.headers['Host']}/{repo}/commit/{oid}"
            self._json({"commitUrl": url, "commitOid": oid})

    def _read(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        raw = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = api or raw
        if self.hub.refuses is not None:
            self._error(self.hub.refuses, "")
        elif found is None or found[1] not in self.hub.refs:
            self._error(404, "RepoNotFound")
        elif (there := self.hub.files(found[1], (api and api[3]) or found[2])) is None:
            self._error(404, "RevisionNotFound")
        elif api is not None:
            oid, files = there
            tree = [
                {"type": "file", "path": p, "size": len(data), "oid": _etag(data)}
                for p, data in files.items()
            ]
            siblings = [{"rfilename": p} for p in files]
            about = {"id": api[1], "sha": oid, "siblings": siblings}
            self._json(tree if api[2] == "tree" else about)
        elif found[3] not in there[1]:
            self._error(404, "EntryNotFound")
        else:
            if self.command == "GET":
                self.hub.fetched.append(found[3])
            data = there[1][found[3]]
            self._send(200, data, {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": there[0]})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve a hub on a free port of this machine and yield its address."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def use(patch: pytest.MonkeyPatch, address: str, cache: Path, *, offline: bool = False) -> None:
    """Point the client at a hub, with a cache of its own."""
    from huggingface_hub import close_session, constants, hf_api

    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(hf_api.api, "endpoint", address)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", offline)
    patch.setenv("HF_TOKEN", "a-token-of-a-test")
    patch.setenv("NO_PROXY", "127.0.0.1")
    close_session()
