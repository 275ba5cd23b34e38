"""A proxy over real sockets between the pipeline and a hub, which spoils answers by chance, by a seed that repeats."""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from fc_pipeline_tests.support.bad_answers import BAD_ANSWERS, GOOD, Answer

__all__ = ["FaultProxy", "Request", "ServedPage"]

HANG_SECONDS = 30.0
"""Longer than any patience in a test."""


@dataclass(frozen=True)
class Request:
    """One request; `attempt` counts from 0 how often just this was asked for."""

    target: str
    path: str
    params: dict[str, str]
    attempt: int

    @classmethod
    def of(cls, target: str, attempt: int) -> Self:
        parts = urlsplit(target)
        return cls(target, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), attempt)


@dataclass(frozen=True)
class ServedPage:
    """Events that went through whole: their shard, and their ids in the order sent."""

    shard: int
    event_ids: tuple[int, ...]


Ask = Callable[[Request], Request | Answer]
"""What is asked of the hub instead, or an answer without asking it."""
Change = Callable[[Request, Answer], Answer]


@dataclass
class FaultProxy:
    """Passes requests on to `upstream`; a context manager that serves in a thread of its own.

    A share of the answers, `bad_share`, goes wrong in one of the `kinds`; which and how depends on the seed, the
    request and how often it was asked alone, so that the same seed spoils the same. `ask` and `change` act out a hub
    that is wrong in itself. All may be changed while it serves. `down()` has it refuse connections until `up()`.
    """

    upstream: str
    seed: int = 0
    bad_share: float = 0.0
    kinds: tuple[str, ...] = tuple(BAD_ANSWERS)
    ask: Ask = lambda request: request
    change: Change = lambda request, answer: answer
    dealt: Counter[str] = field(default_factory=Counter[str])
    pages: list[ServedPage] = field(default_factory=list[ServedPage])
    requests: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._attempts: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()

    def up(self) -> None:
        """Listen; on the same port as before."""
        self._do(self._listen())

    def down(self) -> None:
        """Refuse connections, and drop those that are open."""
        self._do(self._stop_listening())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if not await self._answer(head.split(" ")[1], reader, writer):
                    break
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether the connection stays."""
        request = Request.of(target, self._attempts[target])
        self._attempts[target] += 1
        self.requests.append(target)
        answer = self.change(request, await self._of_hub(request, self.upstream_of(writer)))
        rng = Random(f"{self.seed}/{target}/{request.attempt}")
        kind = rng.choice(self.kinds) if rng.random() < self.bad_share else GOOD
        self.dealt[kind] += 1
        if kind != GOOD:
            answer = BAD_ANSWERS[kind](answer, rng)
        elif request.path == "/v1/events" and answer.status == 200 and not answer.silent:
            self._note_page(request, answer.body)
        return await _send(answer, reader, writer)

    def upstream_of(self, connection: asyncio.StreamWriter) -> str:
        """The hub that the next request on a connection goes to."""
        return self.upstream

    async def _of_hub(self, request: Request, upstream: str) -> Answer:
        asked = self.ask(request)
        if isinstance(asked, Answer):
            return asked
        hub = urlsplit(upstream)
        reader, writer = await asyncio.open_connection(hub.hostname, hub.port)
        try:
            writer.write(f"GET {asked.target} HTTP/1.1\r\nhost: hub\r\nconnection: close\r\n\r\n".encode())
            sent = await reader.read()
        except ConnectionError:
            sent = b""
        finally:
            writer.close()
        if not sent:
            return Answer(silent=True, then="close")
        head, _, body = sent.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        kept = {name: value for name, value in headers.items() if name in ("content-type", "retry-after")}
        return Answer(int(status_line.split(" ")[1]), body, kept)

    def _note_page(self, request: Request, body: bytes) -> None:
        events = json.loads(body)["events"]
        if events:
            self.pages.append(ServedPage(int(request.params["shard_index"]), tuple(event["id"] for event in events)))


async def _send(answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    if not answer.silent:
        headers = {**answer.headers, "content-length": str(len(answer.body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body = answer.body if answer.sent is None else answer.body[: answer.sent]
        writer.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode() + body)
        await writer.drain()
    if answer.then == "hang":
        # Until who asked has lost patience and goes.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1), HANG_SECONDS)
    if answer.then == "reset":
        _reset(writer)
    return answer.then == "keep"


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, and throw away what was not sent yet."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
