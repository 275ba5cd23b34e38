"""The API of Kubernetes, as far as Dagster's launcher of runs asks it: jobs and their pods, over HTTP.

What is to become of a job says who acts the machines: `on_start` is given its object, as it came over the wire.
"""

import json
import re
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

_JOB = re.compile(r"/apis/batch/v1/namespaces/(?P<namespace>[^/]+)/jobs(?:/(?P<name>[^/]+))?(?P<status>/status)?")
_OF_CORE = re.compile(r"/api/v1/namespaces/[^/]+/(?P<kind>pods|events)(?:/(?P<name>[^/]+))?")


def _nothing(job: dict[str, Any]) -> None:
    """A job that waits for a node for ever."""


@dataclass
class ActedKubernetes:
    """Listens on `port`; `jobs` are those that were made and not deleted, by name."""

    port: int
    on_start: Callable[[dict[str, Any]], None] = _nothing
    on_delete: Callable[[str], None] = field(default=lambda name: None)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    made: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def kubeconfig(self, folder: Path) -> Path:
        """A file with which clients find it."""
        file = folder / "kubeconfig.yaml"
        cluster = {"name": "acted", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        context = {"name": "acted", "context": {"cluster": "acted", "user": "acted"}}
        users = [{"name": "acted", "user": {"token": "none"}}]
        said = {"clusters": [cluster], "contexts": [context], "users": users, "current-context": "acted"}
        file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **said}), encoding="utf-8")
        return file

    def say(self, name: str, **status: int) -> None:
        """Let a job be active=1, succeeded=1 or failed=1."""
        if name in self.jobs:
            self.jobs[name]["status"] = status

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, dict[str, Any]]:
        parts = urlsplit(target)
        if of_core := _OF_CORE.fullmatch(parts.path):
            return self._of_core(method, of_core, parse_qs(parts.query))
        found = _JOB.fullmatch(parts.path)
        if found is None:
            return _error(404, f"no such path: {parts.path}")
        name = found["name"]
        if method == "POST":
            return self._make(json.loads(body), found["namespace"])
        if name is None:
            wanted = parse_qs(parts.query).get("fieldSelector", [""])[0].removeprefix("metadata.name=")
            items = [job for key, job in self.jobs.items() if wanted in ("", key)]
            return 200, {"kind": "JobList", "apiVersion": "batch/v1", "metadata": {}, "items": items}
        if name not in self.jobs:
            return _error(404, f"no job {name}")
        if method == "DELETE":
            del self.jobs[name]
            self.on_delete(name)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        return 200, self.jobs[name]

    def _make(self, job: dict[str, Any], namespace: str) -> tuple[int, dict[str, Any]]:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return _error(409, f"there is a job {name}")
        self.made.append(json.loads(json.dumps(job)))
        self.jobs[name] = {**job, "metadata": {**job["metadata"], "namespace": namespace}, "status": {}}
        self.on_start(job)
        return 201, self.jobs[name]

    def _of_core(self, method: str, asked: re.Match[str], query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if method == "DELETE":
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if asked["kind"] == "events":
            return 200, {"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": []}
        label = query.get("labelSelector", [""])[0].removeprefix("job-name=")
        items = [
            {"metadata": {"name": f"{name}-pod", "namespace": "fc"}, "spec": job["spec"]["template"]["spec"]}
            for name, job in self.jobs.items()
            if label in ("", name)
        ]
        return 200, {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}


def _error(code: int, message: str) -> tuple[int, dict[str, Any]]:
    return code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


@contextmanager
def acted_kubernetes() -> Generator[ActedKubernetes]:
    """One without any job, until the block ends."""
    acted: ActedKubernetes

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, said = acted.answer(self.command, self.path, body)
            content = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    acted = ActedKubernetes(server.server_port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield acted
    finally:
        server.shutdown()
        server.server_close()
