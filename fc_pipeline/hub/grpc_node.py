"""A hub's gRPC API, as far as proofs ask it: its trie of live records, block headers, counts (node-db 3.5).

Requests and answers are encoded by field number (proof.protobuf): these few need no generated code.
"""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeVar
from urllib.parse import urlsplit

from fc_pipeline.errors import HubError, HubRefused, HubUnavailable
from fc_pipeline.hub.budget import RequestBudget
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.request_counts import REQUEST_COUNTS
from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.headers import SignedHeader, read_shard_chunk
from fc_pipeline.proof.protobuf import (
    Malformed,
    bytes_field,
    bytes_in,
    last_fields,
    number_field,
    number_in,
    read_fields,
)
from fc_pipeline.proof.trie import HASH_BYTES, Node

if TYPE_CHECKING:
    import grpc
    import grpc.aio

__all__ = ["GrpcNode"]

T = TypeVar("T")

_SERVICE: Final = "/HubService/"
_NO_SUCH_NODE: Final = "node not found"
_TIMEOUT_SECONDS: Final = 10.0
_MAX_ATTEMPTS: Final = 4
_FIRST_BACKOFF_SECONDS: Final = 0.3
_MAX_ANSWER_BYTES: Final = 64 << 20
"""A block with all its transactions is in the answer that has its header."""


class GrpcNode:
    """One hub by gRPC. `sleep` is injected by tests.

    What may pass (no connection, no answer in time, too many requests) is tried again a few times. Errors name the hub,
    the call and what came back; headers, which may be secret, are in none.
    """

    def __init__(self, endpoint: HubEndpoint, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self._budget = RequestBudget(endpoint.requests_per_second)
        self._sleep = sleep
        self._channel: grpc.aio.Channel | None = None

    @property
    def name(self) -> str:
        """Its address without anything secret."""
        return self.endpoint.name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None:
        """The node of a shard's trie at a prefix of whole bytes, as of now; None where nothing is below it.

        Raises HubError.
        """
        call = "GetTrieMetadataByPrefix"
        request = number_field(1, shard) + (bytes_field(2, prefix) if prefix else b"")
        try:
            answer = await self._ask(call, request)
        except HubRefused as error:
            if error.detail is not None and _NO_SUCH_NODE in error.detail.lower():
                return None
            raise
        return self._read(call, answer, lambda told: _told_node(told, prefix))

    async def block(self, shard: int, height: int) -> SignedHeader | None:
        """The header of a block with its votes; None where the hub has none of that height. Raises HubError."""
        call = "GetShardChunks"
        request = number_field(1, shard) + number_field(2, height) + number_field(3, height + 1)
        answer = await self._ask(call, request)
        found = self._read(call, answer, _blocks)
        return next((one for one in found if (one.header.shard, one.header.height) == (shard, height)), None)

    def _read(self, call: str, answer: bytes, read: Callable[[bytes], T]) -> T:
        try:
            return read(answer)
        except Malformed as error:
            raise HubError(f"{self.name} answered {call} with what is no such message: {error}") from error

    async def _ask(self, call: str, request: bytes) -> bytes:
        import grpc

        transient = {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.ABORTED,
        }
        for attempt in range(_MAX_ATTEMPTS):
            await self._budget.acquire()
            self.requests += 1
            REQUEST_COUNTS.sent(self.name)
            try:
                return await self._send(call, request, _TIMEOUT_SECONDS * 2**attempt)
            except grpc.aio.AioRpcError as error:
                REQUEST_COUNTS.failed(self.name)
                detail = self.endpoint.redacted(error.details() or "")
                said = f"{error.code().name}: {detail}" if detail else error.code().name
                if error.code() not in transient:
                    raise self._refused(call, error.code(), said, detail) from None
                if attempt == _MAX_ATTEMPTS - 1:
                    raise HubUnavailable(
                        f"{self.name} did not answer {call} in {_MAX_ATTEMPTS} attempts: {said}",
                        hint="FC_HUB_GRPC is where the hub speaks gRPC, port 3383 unless told otherwise, "
                        "with https for TLS",
                    ) from None
            await self._sleep(_FIRST_BACKOFF_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _refused(self, call: str, code: "grpc.StatusCode", said: str, detail: str) -> HubRefused:
        hints = {
            "UNAUTHENTICATED": "FC_HUB_HEADERS has the headers that the hub wants, such as its API key",
            "PERMISSION_DENIED": "FC_HUB_HEADERS has the headers that the hub wants, such as its API key",
            "UNIMPLEMENTED": "FC_HUB_GRPC is to name a Snapchain node that tells of its trie",
        }
        return HubRefused(f"{self.name} refused {call}: {said}", hint=hints.get(code.name), detail=detail)

    async def _send(self, call: str, request: bytes, timeout_seconds: float) -> bytes:
        metadata = tuple((name.lower(), value) for name, value in self.endpoint.headers.items())
        send = self._connected().unary_unary(_SERVICE + call)
        return await send(request, timeout=timeout_seconds, metadata=metadata)

    def _connected(self) -> "grpc.aio.Channel":
        import grpc

        if self._channel is None:
            parts = urlsplit(self.endpoint.url)
            target = parts.netloc.rpartition("@")[2]
            options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
            self._channel = (
                grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
                if parts.scheme == "https"
                else grpc.aio.insecure_channel(target, options=options)
            )
        return self._channel


def _told_node(answer: bytes, prefix: bytes) -> ToldNode:
    """The node asked for and its children, which are told by the path that leads to them, one nibble a byte."""
    children: dict[int, Node] = {}
    for number, content in read_fields(answer):
        if number == 4 and isinstance(content, bytes):
            path = bytes_in(last_fields(content), 1)
            if len(path) != 2 * len(prefix) + 1 or path[-1] > 0xF:
                raise Malformed(f"the node at {prefix.hex() or 'the root'} has a child at {path.hex()}")
            children[path[-1]] = _node(content)
    return ToldNode(_node(answer), children)


def _node(content: bytes) -> Node:
    fields = last_fields(content)
    digest = _hash(bytes_in(fields, 3))
    return Node(number_in(fields, 2), digest)


def _hash(text: bytes) -> bytes:
    try:
        digest = bytes.fromhex(text.decode())
    except ValueError as error:
        raise Malformed(f"a hash in hex is {text[:40]!r}") from error
    if len(digest) not in (0, HASH_BYTES):
        raise Malformed(f"a hash has {len(digest)} bytes, not {HASH_BYTES}")
    return digest


def _blocks(answer: bytes) -> list[SignedHeader]:
    return [
        read_shard_chunk(content)
        for number, content in read_fields(answer)
        if number == 1 and isinstance(content, bytes)
    ]
