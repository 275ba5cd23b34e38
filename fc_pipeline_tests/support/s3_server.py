"""A local S3 server that counts the requests it gets; tests that need it are skipped where moto is not installed."""

import logging
import threading
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import pytest

BUCKET = "bucket"
KEY, SECRET = "an-access-key", "a-secret-key"


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    query: str


@dataclass
class S3Server:
    """Listens on `port` of `host`; `requests` are what it was asked for, such as `GET object`, `asked` is all of it."""

    port: int
    host: str = "127.0.0.1"
    requests: list[str] = field(default_factory=list[str])
    asked: list[Asked] = field(default_factory=list[Asked])

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    def uri(self, path: str) -> str:
        """The URI of a lake at a path of the bucket, with all that is needed to open it."""
        options = f"endpoint_override={self.host}:{self.port}&scheme=http&region=us-east-1"
        return f"s3://{KEY}:{SECRET}@{BUCKET}/{path}?{options}"

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def stored(self) -> list[str]:
        """The keys of all objects of the bucket."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def count(self) -> Counter[str]:
        """What it was asked for since this was last called."""
        counted = Counter(self.requests)
        self.requests.clear()
        self.asked.clear()
        return counted


def _kind(asked: Asked) -> str:
    method, path, query = asked
    if "delete" in parse_qs(query, keep_blank_values=True):
        return "POST delete"
    what = "object" if path.strip("/").partition("/")[2] else "bucket"
    return f"{method} {'list' if method == 'GET' and what == 'bucket' else what}"


@contextmanager
def s3_server(host: str = "127.0.0.1") -> Generator[S3Server]:
    """One with an empty bucket, at an address of this machine, until the block ends."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed: make test installs it")
    from werkzeug.serving import make_server

    moto_app = moto.DomainDispatcherApplication(moto.create_backend_app)
    server: S3Server

    def counting(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked = Asked(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"])
        server.requests.append(_kind(asked))
        server.asked.append(asked)
        return moto_app(environ, start_response)

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    listening = make_server(host, 0, counting, threaded=True)
    server = S3Server(listening.server_port, host)
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        server.client().create_bucket(Bucket=BUCKET)
        server.count()
        yield server
        for key in server.stored():  # moto keeps what it has for the whole process
            server.client().delete_object(Bucket=BUCKET, Key=key)
        server.client().delete_bucket(Bucket=BUCKET)
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()
