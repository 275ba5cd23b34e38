"""A web server that keeps whatever is posted to it, as it came."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fc_pipeline_tests.support.served import served


@dataclass(frozen=True)
class Posted:
    """One request."""

    path: str
    content_type: str
    body: str


@dataclass
class WebReceiver:
    """Where it listens, and what arrived; a body longer than `most_letters` is refused, as services do."""

    port: int = 0
    most_letters: int = 1_000_000
    posted: list[Posted] = field(default_factory=list[Posted])


@contextmanager
def receiving_posts(most_letters: int = 1_000_000) -> Generator[WebReceiver]:
    receiver = WebReceiver(most_letters=most_letters)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            is_taken = len(body) <= receiver.most_letters
            if is_taken:
                receiver.posted.append(Posted(self.path, self.headers.get("Content-Type", ""), body))
            self.send_response(200 if is_taken else 400)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    with served(server):
        yield receiver
