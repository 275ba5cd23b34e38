"""A TCP link to a server of ours (a Unix socket or a port), that is slow or cut by a seed's choice."""

import random
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

CHUNK_BYTES: Final = 65_536
COMMIT: Final = b"COMMIT"


@dataclass
class Link:
    """Listens on `port` of `host`; each connection to it is one to `target` (a socket's path, or host and port).

    `delay_seconds` holds back every chunk. After about `cut_after_bytes` (drawn per connection, from `seeded`) a
    connection is cut, until `cuts_left` is 0. With `lose_commits`, so many answers to COMMIT are lost with their
    connection, after the server has given them.
    """

    target: str | tuple[str, int]
    host: str = "127.0.0.1"
    seeded: random.Random = field(default_factory=lambda: random.Random(0))
    delay_seconds: float = 0.0
    cut_after_bytes: int = 0
    cuts_left: int = 0
    lose_commits: int = 0
    skip_commits: int = 0
    cuts: int = field(default=0, init=False)
    refusing: bool = False
    _open: set[socket.socket] = field(default_factory=set[socket.socket], init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __enter__(self) -> Self:
        self._listening = socket.create_server((self.host, 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.close()
        self.cut_all()

    def cut_all(self) -> None:
        """Cut every connection that is open now."""
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            _shut(end)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            _Connection(self, client, server, self._budget()).start()
            with self._lock:
                self._open |= {client, server}

    def _budget(self) -> float:
        if not self.cut_after_bytes:
            return float("inf")
        return self.seeded.uniform(0.2, 1.8) * self.cut_after_bytes

    def _connect(self) -> socket.socket:
        if isinstance(self.target, tuple):
            return socket.create_connection(self.target)
        server = socket.socket(socket.AF_UNIX)
        server.connect(self.target)
        return server

    def may_cut(self) -> bool:
        with self._lock:
            if self.cuts_left <= 0:
                return False
            self.cuts_left -= 1
            self.cuts += 1
            return True

    def may_lose_commit(self) -> bool:
        with self._lock:
            if self.lose_commits <= 0:
                return False
            if self.skip_commits > 0:
                self.skip_commits -= 1
                return False
            self.lose_commits -= 1
            self.cuts += 1
            return True


@dataclass
class _Connection:
    """The two directions of one connection."""

    link: Link
    client: socket.socket
    server: socket.socket
    budget_bytes: float
    lose_answer: bool = False

    def start(self) -> None:
        for source, sink in ((self.client, self.server), (self.server, self.client)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                if source is self.client and COMMIT in chunk and self.link.may_lose_commit():
                    self.lose_answer = True
                elif source is self.server and self.lose_answer:
                    break
                if self.link.delay_seconds:
                    time.sleep(self.link.delay_seconds)
                self.budget_bytes -= len(chunk)
                if self.budget_bytes < 0 and self.link.may_cut():
                    sink.sendall(chunk[: len(chunk) // 2])
                    break
                sink.sendall(chunk)
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def postgres_link(url: str, **plan: object) -> Generator[tuple[Link, str]]:
    """A link to an embedded Postgres, and the URL of its database through it."""
    parts = urlsplit(url)
    directory = unquote(parse_qs(parts.query)["host"][0])
    with Link(f"{directory}/.s.PGSQL.5432", **plan) as link:  # pyright: ignore[reportArgumentType]
        password = quote(unquote(parts.password or ""), safe="")
        yield link, f"postgresql://{parts.username}:{password}@{link.host}:{link.port}{parts.path}"
