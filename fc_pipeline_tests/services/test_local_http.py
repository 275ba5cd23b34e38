"""One request to a server of ours: its answer, or an OSError whatever else happens; never through a proxy."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fc_pipeline.services.local_http import local_answer


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server for one request; gives its port, and what it is sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                heard.append(connection.recv(65_536))
                connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        yield listening.getsockname()[1], heard
        serving.join(10)


def test_a_question_and_its_answer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with answering(b"HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nlate") as (port, heard):
        assert local_answer(port, "/graphql", {"query": "{ a }"}, timeout_seconds=10) == (503, b"late")
    assert heard[0].startswith(b"POST /graphql HTTP/1.1\r\n")


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"])
def test_whatever_is_no_answer_is_an_os_error(answer: bytes):
    with answering(answer) as (port, _), pytest.raises(OSError):  # noqa: PT011
        local_answer(port, "/v1/info", timeout_seconds=10)
