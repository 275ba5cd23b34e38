"""A hub over real sockets that acts out the traps of hub-api section 9: what a good server cannot do."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX

Event = dict[str, Any]


@dataclass
class Answer:
    """`disconnect` closes without a word; `cut` sends only so many bytes of the body and closes."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    disconnect: bool = False
    cut: int | None = None


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"content-type": "application/json", **headers})


DISCONNECT = Answer(disconnect=True)


def confirmed(height: int, unix_seconds: int, shard: int = 1, total_events: int = 1) -> Event:
    return {
        "type": "HUB_EVENT_TYPE_BLOCK_CONFIRMED",
        "id": height << 14,
        "blockConfirmedBody": {
            "blockNumber": height,
            "timestamp": unix_seconds - FARCASTER_EPOCH_UNIX,
            "totalEvents": total_events,
        },
        "blockNumber": height,
        "shardIndex": shard,
    }


def failure(height: int, seq: int, shard: int = 1) -> Event:
    """An event with an id and nothing that matters in it."""
    return {
        "type": "HUB_EVENT_TYPE_MERGE_FAILURE",
        "id": (height << 14) | seq,
        "mergeFailureBody": {"code": "bad_request.conflict", "reason": f"{height}/{seq}"},
        "blockNumber": height,
        "shardIndex": shard,
    }


def block(height: int, events: int = 2, *, unix_seconds: int | None = None, shard: int = 1) -> list[Event]:
    at = 1_700_000_000 + height if unix_seconds is None else unix_seconds
    return [confirmed(height, at, shard, events + 1), *(failure(height, seq, shard) for seq in range(1, events + 1))]


def blocks(first: int, last: int, events: int = 2, *, shard: int = 1) -> list[Event]:
    return [event for height in range(first, last + 1) for event in block(height, events, shard=shard)]


class ActedHub:
    """Serves `log` (shard → events); `script` answers come first, `respond` may take over any request."""

    def __init__(self, log: dict[int, list[Event]] | None = None) -> None:
        self.log = log if log is not None else {1: [], 2: []}
        self.script: list[Answer] = []
        self.respond: Callable[[str, dict[str, str]], Answer | None] = lambda path, params: None
        self.poison: set[int] = set()
        self.max_events: int | None = None
        self.block_delay = 1
        self.num_shards: int | None = None
        self.max_heights: dict[int, int] = {}
        self.requests: list[str] = []
        self.request_headers: list[dict[str, str]] = []
        self.connections: list[tuple[str, int]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def asked(self, path: str) -> list[str]:
        return [request for request in self.requests if request.split("?")[0] == path]

    async def __aenter__(self) -> "ActedHub":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._serving)

    async def stop_listening(self) -> None:
        """Die: refuse new connections and drop the open ones."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections.append(writer.get_extra_info("peername"))
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                target = head.split(" ")[1]
                lines = head.split("\r\n")[1:]
                self.request_headers.append(dict(line.lower().split(": ", 1) for line in lines if line))
                if not await self._answer(target, writer):
                    break
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, target: str, writer: asyncio.StreamWriter) -> bool:
        self.requests.append(target)
        answer = self._choose(target)
        if answer.disconnect:
            return False
        headers = {"content-length": str(len(answer.body)), **answer.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} X\r\n{head}\r\n".encode())
        writer.write(answer.body if answer.cut is None else answer.body[: answer.cut])
        await writer.drain()
        return answer.cut is None

    def _choose(self, target: str) -> Answer:
        if self.script:
            return self.script.pop(0)
        parts = urlsplit(target)
        params = dict(parse_qsl(parts.query, keep_blank_values=True))
        answer = self.respond(parts.path, params)
        if answer is not None:
            return answer
        if parts.path == "/v1/info":
            return self.info()
        if parts.path == "/v1/events":
            return self._events(params)
        if parts.path == "/v1/eventById":
            return self._event_by_id(params)
        return Answer(404, b"Not Found")

    def info(self) -> Answer:
        """What it says of itself."""
        infos = [{"shardId": 0, "maxHeight": 9, "blockDelay": 1}]
        for shard, events in self.log.items():
            height = self.max_heights.get(shard, events[-1]["id"] >> 14 if events else 0)
            infos.append({"shardId": shard, "maxHeight": height, "blockDelay": self.block_delay})
        number = self.num_shards if self.num_shards is not None else len(self.log)
        return json_answer({"version": "0.14.2", "numShards": number, "shardInfos": infos, "peer_id": "p"})

    def _events(self, params: dict[str, str]) -> Answer:
        shard = int(params["shard_index"])
        if shard not in self.log:
            detail = 'status: InvalidArgument, message: "Shard not found", details: []'
            return json_answer({"error": "Failed to get events", "error_detail": detail}, 400)
        low, stop = int(params["from_event_id"]), int(params.get("stop_id", 2**64))
        found = [event for event in self.log[shard] if low <= event["id"] < stop]
        if params.get("reverse") == "true":
            found.reverse()
        size = int(params.get("page_size", 1000))
        page = found[: size if self.max_events is None else min(size, self.max_events)]
        if any(event["id"] in self.poison for event in page):
            return DISCONNECT
        return json_answer({"events": page})

    def _event_by_id(self, params: dict[str, str]) -> Answer:
        event_id = int(params["event_id"])
        if event_id in self.poison:
            return DISCONNECT
        for event in self.log[int(params["shard_index"])]:
            if event["id"] == event_id:
                return json_answer(event)
        detail = 'status: Internal, message: "not_found/Event not found", details: []'
        return json_answer({"error": "Failed to get event", "error_detail": detail}, 400)


class Waits:
    """A clock that only moves when someone sleeps, and what was slept."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


def client_for(hub: ActedHub, waits: Waits | None = None, **options: Any) -> HubClient:
    waits = waits or Waits()
    return HubClient(
        HubEndpoint(hub.url),
        sleep=waits.sleep,
        clock=waits.clock,
        random=lambda: 1.0,
        now=lambda: 1_800_000_000.0,
        **options,
    )


def reads_for(hub: ActedHub, **options: Any) -> HubReads:
    return HubReads(client_for(hub, **options))


def pool_for(*hubs: ActedHub, waits: Waits | None = None, **options: Any) -> HubPool:
    waits = waits or Waits()
    return HubPool(
        [HubEndpoint(hub.url) for hub in hubs],
        sleep=waits.sleep,
        clock=waits.clock,
        random=lambda: 1.0,
        **{"retries": 2, **options},
    )
