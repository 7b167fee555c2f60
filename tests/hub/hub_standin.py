"""A hub on this machine: the part of the Hugging Face Hub's HTTP interface that its client and `datasets` use.

Repositories with commits, tags and two ways of storing a file, as the real one has: small text in git, weights
and Parquet as LFS objects that are uploaded before the commit that names them.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_" + "a1B2" * 9
"""The one token that may write to the owner `anna`."""
LARGE = ("*.safetensors", "*.parquet", "*.arrow")


@dataclass
class Repo:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Files by path, by commit; the last commit is main's head."""
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def commit(self, files: dict[str, bytes], message: str) -> str:
        oid = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[oid] = files
        self.messages.append(message)
        return oid

    def resolve(self, revision: str) -> str | None:
        found = {"main": self.head, **self.tags}.get(revision, revision)
        return found if found in self.commits else None


class Hub:
    """All state of the stand-in, and what shall go wrong."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.uploads: list[str] = []
        """LFS objects whose bytes were sent, in order."""
        self.trouble: Callable[[str, str], int | None] = lambda method, path: None
        """Asked before each request: a status to answer with, 0 to drop the connection, None to go on."""
        self.lock = threading.Lock()

    def repo(self, repo_id: str, repo_type: str = "dataset") -> Repo:
        return self.repos[repo_type, repo_id]


def is_large(path: str) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in LARGE)


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        split = urlsplit(self.path)
        path = unquote(split.path)
        self.query = parse_qs(split.query)
        self.body = self._read()
        with self.hub.lock:
            self.hub.requests.append(f"{self.command} {path}")
            trouble = self.hub.trouble(self.command, path)
            if trouble == 0:
                self.close_connection = True
                self.connection.close()
                return
            if trouble is not None:
                self._json({"error": "trouble"}, trouble)
                return
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in method.split():
                    answer(self, **match.groupdict())
                    return
        self._json({"error": f"no route for {path}"}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = _serve

    def _read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        self._bytes(json.dumps(value).encode(), status, **{"Content-Type": "application/json", **headers})

    def _bytes(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _may(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _repo(self, kind: str, repo_id: str) -> Repo | None:
        """The repository, or None after the answer that the real hub gives to those who may not see it."""
        repo = self.hub.repos.get((kind, repo_id))
        if repo is None or (repo.private and not self._may()):
            code = "RepoNotFound"
            self._json({"error": "Repository not found"}, 404, **{"X-Error-Code": code})
            return None
        return repo

    def create(self) -> None:
        asked = json.loads(self.body)
        if not self._may():
            return self._json({"error": "Invalid credentials"}, 401)
        if asked["organization"] != "anna":
            return self._json({"error": "You don't have the rights"}, 403)
        key = (asked.get("type", "model"), f"{asked['organization']}/{asked['name']}")
        if key in self.hub.repos:
            return self._json({"error": "You already created this repo"}, 409)
        repo = self.hub.repos[key] = Repo(private=asked.get("visibility") == "private")
        repo.commit({".gitattributes": b"*.parquet filter=lfs\n"}, "initial commit")
        prefix = "datasets/" if key[0] == "dataset" else ""
        return self._json({"url": f"http://{self.headers['Host']}/{prefix}{key[1]}"})

    def validate(self) -> None:
        content = json.loads(self.body)["content"]
        match = re.match(r"---\n(.*?)\n---\n", content, re.S)
        try:
            header = yaml.safe_load(match.group(1)) if match else None
        except yaml.YAMLError:
            header = None
        if not isinstance(header, dict):
            return self._json({"errors": [{"message": "no valid YAML header"}], "warnings": []}, 400)
        return self._json({"errors": [], "warnings": []})

    def info(self, kind: str, repo_id: str, revision: str = "main") -> None:
        if repo := self._repo(kind, repo_id):
            oid = repo.resolve(revision)
            if oid is None:
                return self._json({"error": "no revision"}, 404, **{"X-Error-Code": "RevisionNotFound"})
            files = [{"rfilename": path} for path in sorted(repo.commits[oid])]
            about = {"_id": "1", "id": repo_id, "sha": oid, "private": repo.private, "siblings": files}
            return self._json({**about, "downloads": 0, "likes": 0, "tags": [], "gated": False})
        return None

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_sha1(content)}
        if is_large(path):
            entry["lfs"] = {
                "oid": hashlib.sha256(content).hexdigest(),
                "size": len(content),
                "pointerSize": 130,
            }
        return entry

    def tree(self, kind: str, repo_id: str, revision: str, under: str | None = None) -> None:
        if repo := self._repo(kind, repo_id):
            oid = repo.resolve(revision)
            if oid is None:
                return self._json({"error": "no revision"}, 404, **{"X-Error-Code": "RevisionNotFound"})
            start = f"{under}/" if under else ""
            found = [(path, one) for path, one in sorted(repo.commits[oid].items()) if path.startswith(start)]
            deep = self.query.get("recursive", ["False"])[0].lower() in ("true", "1")
            entries, folders = [], set()
            for path, content in found:
                first, slash, _ = path.removeprefix(start).partition("/")
                if slash and start + first not in folders:
                    folders.add(start + first)
                    entries.append({"type": "directory", "path": start + first, "size": 0, "oid": "0" * 40})
                if deep or not slash:
                    entries.append(self._entry(path, content))
            if under and not found:
                return self._json({"error": "no entry"}, 404, **{"X-Error-Code": "EntryNotFound"})
            return self._json(entries)
        return None

    def paths_info(self, kind: str, repo_id: str, revision: str) -> None:
        if repo := self._repo(kind, repo_id):
            oid = repo.resolve(revision)
            files = repo.commits[oid] if oid else {}
            asked = parse_qs(self.body.decode()).get("paths", [])
            entries: list[dict[str, Any]] = [
                self._entry(path, files[path]) for path in asked if path in files
            ]
            for path in asked:
                if any(name.startswith(f"{path}/") for name in files):
                    entries.append({"type": "directory", "path": path, "size": 0, "oid": "0" * 40})
            self._json(entries)

    def refs(self, kind: str, repo_id: str) -> None:
        if repo := self._repo(kind, repo_id):
            tags = [
                {"name": name, "ref": f"refs/tags/{name}", "targetCommit": oid}
                for name, oid in repo.tags.items()
            ]
            branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
            self._json({"branches": [branch], "converts": [], "tags": tags})

    def preupload(self, kind: str, repo_id: str, revision: str) -> None:
        if repo := self._repo(kind, repo_id):
            answers = []
            for file in json.loads(self.body)["files"]:
                old = repo.commits[repo.head].get(file["path"])
                mode = "lfs" if is_large(file["path"]) else "regular"
                one = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
                answers.append({**one, **({"oid": git_sha1(old)} if old is not None else {})})
            self._json({"files": answers})

    def lfs_batch(self, repo_id: str) -> None:
        objects = []
        for one in json.loads(self.body)["objects"]:
            answer = {"oid": one["oid"], "size": one["size"]}
            if one["oid"] not in self.hub.objects:
                href = f"http://{self.headers['Host']}/lfs/{one['oid']}"
                answer["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def lfs_put(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._json({"error": "wrong content"}, 422)
        self.hub.objects[oid] = self.body
        self.hub.uploads.append(oid)
        return self._bytes(b"")

    def commit(self, kind: str, repo_id: str, revision: str) -> None:
        if repo := self._repo(kind, repo_id):
            if not self._may():
                return self._json({"error": "Invalid credentials"}, 401)
            lines = [json.loads(line) for line in self.body.splitlines()]
            header = lines[0]["value"]
            if header.get("parentCommit", repo.head) != repo.head:
                return self._json({"error": "A commit has happened since"}, 412)
            files = dict(repo.commits[repo.head])
            for line in lines[1:]:
                value = line["value"]
                if line["key"] == "deletedFile":
                    del files[value["path"]]
                elif line["key"] == "lfsFile":
                    if value["oid"] not in self.hub.objects:
                        return self._json({"error": "LFS object missing"}, 400)
                    files[value["path"]] = self.hub.objects[value["oid"]]
                else:
                    files[value["path"]] = base64.b64decode(value["content"])
            oid = repo.commit(files, header["summary"])
            url = f"http://{self.headers['Host']}/{repo_id}/commit/{oid}"
            return self._json({"commitUrl": url, "commitOid": oid, "success": True})
        return None

    def tag(self, kind: str, repo_id: str, revision: str) -> None:
        if repo := self._repo(kind, repo_id):
            name = json.loads(self.body)["tag"]
            if name in repo.tags:
                return self._json({"error": "Tag exists"}, 409)
            oid = repo.resolve(revision)
            if oid is None:
                return self._json({"error": "no revision"}, 404, **{"X-Error-Code": "RevisionNotFound"})
            repo.tags[name] = oid
            return self._json({"ok": True})
        return None

    def file(self, repo_id: str, revision: str, path: str, prefix: str | None = None) -> None:
        if repo := self._repo("dataset" if prefix else "model", repo_id):
            oid = repo.resolve(revision)
            content = repo.commits[oid].get(path) if oid else None
            if oid is None or content is None:
                code = "RevisionNotFound" if oid is None else "EntryNotFound"
                return self._json({"error": code}, 404, **{"X-Error-Code": code, "X-Repo-Commit": oid or ""})
            etag = hashlib.sha256(content).hexdigest() if is_large(path) else git_sha1(content)
            return self._bytes(content, **{"ETag": f'"{etag}"', "X-Repo-Commit": oid})
        return None


_API = r"/api/(?P<kind>model|dataset)s/(?P<repo_id>[\w.-]+/[\w.-]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.validate),
    ("GET", _API, _Handler.info),
    ("GET", _API + r"/revision/(?P<revision>[^/]+)", _Handler.info),
    ("GET", _API + r"/tree/(?P<revision>[^/]+)(?:/(?P<under>.+))?", _Handler.tree),
    ("POST", _API + r"/paths-info/(?P<revision>[^/]+)", _Handler.paths_info),
    ("GET", _API + r"/refs", _Handler.refs),
    ("POST", _API + r"/preupload/(?P<revision>[^/]+)", _Handler.preupload),
    ("POST", _API + r"/commit/(?P<revision>[^/]+)", _Handler.commit),
    ("POST", _API + r"/tag/(?P<revision>[^/]+)", _Handler.tag),
    ("POST", r"/(?:datasets/)?(?P<repo_id>[\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_put),
    (
        "GET HEAD",
        r"/(?P<prefix>datasets/)?(?P<repo_id>[\w.-]+/[\w.-]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        _Handler.file,
    ),
]


@contextmanager
def serving(hub: Hub) -> Iterator[str]:
    """Serve a hub on a free port of this machine; yields its address."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
