"""A hub on this machine: the endpoints that an upload asks, and what became of it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_right"
READER = "hf_reader"  # a token without the right to write


@dataclass
class Repo:
    """Files of each branch, and the messages of its commits."""

    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    log: list[str] = field(default_factory=list)

    def sha(self, branch: str) -> str:
        text = json.dumps([len(self.log), sorted(self.branches[branch])])
        return hashlib.sha1(text.encode()).hexdigest()


class Server(ThreadingHTTPServer):
    """Repositories by name; ``failing`` maps the end of a path to a status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hub)
        self.repos: dict[str, Repo] = {}
        self.failing: dict[str, int] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Hub(BaseHTTPRequestHandler):
    """Answers of the hub, as far as huggingface_hub reads them."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer(b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.server.asked.append(f"{self.command} {path}")
        parts = path.split("/")
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        for end, status in self.server.failing.items():
            if path.endswith(end):
                return self.reply(status, {"error": "as the test wants it"})
        if token not in (TOKEN, READER):
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            return self.reply(401, {"error": "Invalid credentials"}, message)
        if self.command == "POST" and token == READER and path != "api/validate-yaml":
            return self.reply(403, {"error": "no right to write"})
        if path == "api/repos/create":
            return self.create(json.loads(body))
        if path == "api/validate-yaml":
            return self.validate(json.loads(body)["content"])
        name = "/".join(parts[2:4]) if parts[0] == "api" else "/".join(parts[:2])
        repo = self.server.repos.get(name)
        if repo is None:
            return self.reply(404, {}, {"X-Error-Code": "RepoNotFound"})
        rest = parts[4:] if parts[0] == "api" else parts[2:]
        return self.of_repo(name, repo, rest, body)

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server.repos[name] = Repo(private=bool(private))
        self.reply(200, {"url": f"{self.server.url}/{name}", "id": "0"})

    def validate(self, content: str) -> None:
        """The hub's rules for front matter that our cards could break."""
        data = yaml.safe_load(content.split("---\n")[1])
        wrong = [key for key in ("base_model", "license") if data.get(key) == ""]
        wrong += [one for one in data.get("datasets", []) if "/" not in one]
        for model in data.get("model-index", []):
            for result in model["results"]:
                assert result["task"]["type"] and result["dataset"]["name"]
                assert result["dataset"]["type"] and result["metrics"]
        errors = [{"message": f"{key} is not allowed to be empty"} for key in wrong]
        warned = [] if "license" in data else [{"message": "no license is set"}]
        self.reply(400 if errors else 200, {"errors": errors, "warnings": warned})

    def of_repo(self, name: str, repo: Repo, rest: list[str], body: bytes) -> None:
        if rest[:1] == ["branch"]:
            repo.branches["/".join(rest[1:])] = dict(repo.branches["main"])
            return self.reply(200, {})
        if rest[:1] == ["preupload"]:
            asked = json.loads(body)["files"]
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            return self.reply(200, {"files": files})
        if rest[:1] == ["commit"]:
            return self.commit(name, repo, "/".join(rest[1:]), body)
        if rest[:1] == ["resolve"]:
            (files,) = [f for b, f in repo.branches.items() if rest[1] in (b, repo.sha(b))]
            data = files["/".join(rest[2:])]
            tag = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": rest[1]}
            return self.reply(200, data, tag)
        branch = "/".join(rest[1:]) if rest[:1] == ["revision"] else "main"
        if branch not in repo.branches:
            return self.reply(404, {}, {"X-Error-Code": "RevisionNotFound"})
        siblings = [{"rfilename": file} for file in (".gitattributes", *repo.branches[branch])]
        info = {"_id": "0", "id": name, "modelId": name, "sha": repo.sha(branch), "tags": []}
        return self.reply(200, info | {"siblings": siblings, "private": repo.private})

    def commit(self, name: str, repo: Repo, branch: str, body: bytes) -> None:
        lines = [json.loads(line) for line in body.splitlines()]
        (header,) = [line["value"] for line in lines if line["key"] == "header"]
        if header.get("parentCommit") not in (None, repo.sha(branch)):
            return self.reply(412, {"error": "the branch has changed"})
        files = repo.branches[branch]
        for line in lines:
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            if line["key"] == "deletedFile":
                del files[line["value"]["path"]]
        repo.log.append(header["summary"])
        url = f"{self.server.url}/{name}/commit/{repo.sha(branch)}"
        self.reply(200, {"success": True, "commitUrl": url, "commitOid": repo.sha(branch)})

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def serving() -> Iterator[Server]:
    """A running hub."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
