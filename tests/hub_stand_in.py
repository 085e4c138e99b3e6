"""A stand-in for the Hugging Face Hub: its HTTP as far as push and load use it, on this machine.

What `huggingface_hub` sends is taken apart as the Hub does it: small files come within the commit, as base64;
large ones go to the LFS store first, and the commit names them by hash. A commit is taken whole or not at
all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import yaml

OWNER, TOKEN, READER = "ann", "hf_writes", "hf_reads"
LARGE = (".safetensors", ".onnx", ".bin")
"""What goes to the LFS store, whatever its size, as on the Hub."""


class Hub:
    """Repositories: name -> {"private", "branches": name -> [commits], newest last}.

    Attributes:
        stored: the LFS store, hash -> bytes.
        asked: (method, path, headers) of every request.
        refused: (method, part of the path) -> status that is answered with.
    """

    def __init__(self):
        self.repos, self.stored, self.asked, self.refused, self.cards = {}, {}, [], {}, []

    def add(self, name, files, private=False):
        """A repository that is there already."""
        self.repos[name] = {"private": private, "branches": {"main": []}}
        self.commit(name, "main", dict(files), "made before")

    def commit(self, name, branch, files, message):
        oid = hashlib.sha1(f"{name}{branch}{len(self.asked)}{message}".encode()).hexdigest()
        self.repos[name]["branches"][branch].append({"oid": oid, "files": files, "message": message})
        return oid

    def commits(self, name, branch="main"):
        return self.repos[name]["branches"][branch]

    def files(self, name, branch="main"):
        """The newest files of a branch; none where there is no commit."""
        commits = self.commits(name, branch)
        return commits[-1]["files"] if commits else {}

    def at(self, name, revision):
        """A commit by branch or hash; None where there is none."""
        branches = self.repos[name]["branches"]
        if revision in branches:
            return branches[revision][-1] if branches[revision] else {"oid": "0" * 40, "files": {}}
        return next((c for commits in branches.values() for c in commits if c["oid"] == revision), None)


class Refused(Exception):
    pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_PUT = do_HEAD = do_GET

    def answer(self):
        path, _, _ = unquote(self.path).partition("?")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((self.command, path, dict(self.headers)))
        try:
            for (method, part), status in self.hub.refused.items():
                if method == self.command and part in path:
                    raise Refused(status, "refused by the test")
            for pattern, method, function in ROUTES:
                if method == self.command and (found := re.fullmatch(pattern, path)):
                    return function(self, *found.groups())
            raise Refused(404, f"no such place: {self.command} {path}")
        except Refused as refusal:
            status, said = refusal.args
            code = {"X-Error-Code": "RepoNotFound"} if said == "Repository not found" else {}
            self.give({"error": said}, status, {**code, "X-Error-Message": said})

    def give(self, content, status=200, headers=()):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self):
        return json.loads(self.body)

    def writes(self, name=None):
        """InputError of a kind unless whoever asks may write."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in (TOKEN, READER):
            raise Refused(401, "Invalid credentials in Authorization header")
        if token == READER or (name and name.split("/")[0] != OWNER):
            raise Refused(403, "You don't have the rights to write here")

    def there(self, name):
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if name not in self.hub.repos or (self.hub.repos[name]["private"] and token != TOKEN):
            raise Refused(404, "Repository not found")

    def create(self):
        asked = self.json()
        name = f"{asked['organization']}/{asked['name']}"
        self.writes(name)
        if name in self.hub.repos:
            raise Refused(409, "You already created this model repo")
        self.hub.repos[name] = {"private": asked.get("visibility") == "private", "branches": {"main": []}}
        self.give({"url": f"{self.home}/{name}", "name": name})

    def validate(self):
        card = self.json()["content"]
        self.hub.cards.append(card)
        found = re.match(r"---\n(.*?)\n---\n", card, re.S)
        if found is None or not isinstance(yaml.safe_load(found[1]), dict):
            return self.give({"errors": [{"message": "no metadata"}]}, 400)
        self.give({"errors": [], "warnings": []})

    def preupload(self, name, branch):
        self.there(name)
        self.writes(name)
        if branch not in self.hub.repos[name]["branches"]:
            raise Refused(404, "Revision not found")
        modes = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for each in self.json()["files"]
        ]
        self.give({"files": modes})

    def batch(self, name):
        self.writes(name)
        objects = []
        for each in self.json()["objects"]:
            actions = {"upload": {"href": f"{self.home}/lfs/{each['oid']}"}}
            objects.append({**each, **({} if each["oid"] in self.hub.stored else {"actions": actions})})
        self.give({"transfer": "basic", "objects": objects})

    def store(self, oid):
        if hashlib.sha256(self.body).hexdigest() != oid:
            raise Refused(400, "other content than its hash")
        self.hub.stored[oid] = self.body
        self.give({})

    def take(self, name, branch):
        self.there(name)
        self.writes(name)
        files, message = dict(self.hub.files(name, branch)), ""
        for line in map(json.loads, self.body.decode().splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if value["oid"] not in self.hub.stored:
                    raise Refused(400, "a file that was never uploaded")
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        oid = self.hub.commit(name, branch, files, message)
        self.give({"commitUrl": f"{self.home}/{name}/commit/{oid}", "commitOid": oid})

    def branch(self, name, branch):
        self.writes(name)
        branches = self.hub.repos[name]["branches"]
        if branch in branches:
            raise Refused(409, "Reference already exists")
        branches[branch] = list(branches["main"])
        self.give({})

    def info(self, name, revision=None):
        self.there(name)
        found = self.hub.at(name, revision or "main")
        if found is None:
            raise Refused(404, "Revision not found")
        siblings = [{"rfilename": path} for path in found["files"]]
        self.give(
            {
                "id": name,
                "sha": found["oid"],
                "private": self.hub.repos[name]["private"],
                "siblings": siblings,
            }
        )

    def tree(self, name, revision):
        self.there(name)
        found = self.hub.at(name, revision)
        if found is None:
            raise Refused(404, "Revision not found")
        rows = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in found["files"].items()
        ]
        self.give(rows)

    def resolve(self, name, revision, path):
        self.there(name)
        found = self.hub.at(name, revision)
        if found is None or path not in found["files"]:
            raise Refused(404, "Entry not found")
        content = found["files"][path]
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self.give(content, headers={"X-Repo-Commit": found["oid"], "ETag": etag})


NAME = r"([\w.-]+/[\w.-]+)"
ROUTES = (
    ("/api/repos/create", "POST", Handler.create),
    ("/api/validate-yaml", "POST", Handler.validate),
    (f"/api/models/{NAME}/preupload/(.+)", "POST", Handler.preupload),
    (f"/{NAME}.git/info/lfs/objects/batch", "POST", Handler.batch),
    (r"/lfs/([0-9a-f]{64})", "PUT", Handler.store),
    (f"/api/models/{NAME}/commit/(.+)", "POST", Handler.take),
    (f"/api/models/{NAME}/branch/(.+)", "POST", Handler.branch),
    (f"/api/models/{NAME}", "GET", Handler.info),
    (f"/api/models/{NAME}/revision/(.+)", "GET", Handler.info),
    (f"/api/models/{NAME}/tree/(.+)", "GET", Handler.tree),
    (f"/{NAME}/resolve/([^/]+)/(.+)", "GET", Handler.resolve),
    (f"/{NAME}/resolve/([^/]+)/(.+)", "HEAD", Handler.resolve),
)


@contextmanager
def serving():
    """A hub and its address."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    home = f"http://127.0.0.1:{server.server_port}"
    server.RequestHandlerClass.home = home
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub, home
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
