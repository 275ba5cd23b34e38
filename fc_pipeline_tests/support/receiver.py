"""A web server that takes alerts as Apprise's `json://` sends them, and keeps them."""

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fc_pipeline_tests.support.served import served


@dataclass
class Receiver:
    """What arrived, and when (unix seconds); `status` is what it answers."""

    port: int = 0
    status: int = 200
    messages: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list[float])

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.port}/alerts"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]

    def told(self, first_line: str) -> list[tuple[float, str]]:
        """When and with which words it was told of turns that begin with this line, such as `RED: check a of b`."""
        return [
            (at, part)
            for at, message in zip(self.times, list(self.messages), strict=False)
            for part in message["message"].split("\n\n")
            if part.splitlines()[0] == first_line
        ]

    def wait_for(self, words: str, seconds: float = 120.0) -> dict[str, str]:
        """The first message that has these words, which may be still to come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for message in list(self.messages):
                if words in message["title"] or words in message["message"]:
                    return message
            time.sleep(0.1)
        raise AssertionError(f"no message has {words!r}: {self.messages}")


@contextmanager
def receiving(status: int = 200) -> Generator[Receiver]:
    receiver = Receiver(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if receiver.status == 200:
                receiver.times.append(time.time())
                receiver.messages.append(message)
            self.send_response(receiver.status)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    with served(server):
        yield receiver
