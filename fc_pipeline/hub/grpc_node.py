"""A hub's gRPC API, as far as proofs ask it: its trie of live records, block headers, messages by FID, counts.

Requests and answers are encoded by field number (proof.protobuf; node-db 3.5, 5.2): these few need no generated code.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from types import TracebackType
from typing import Final, Self, TypeVar

from fc_pipeline.errors import HubError, HubRefused
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_channel import GrpcChannel
from fc_pipeline.hub.grpc_messages import message_json, message_kind
from fc_pipeline.hub.wire import HubInfo, ShardInfo
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

__all__ = ["LISTS", "GrpcNode"]

T = TypeVar("T")

_NO_SUCH_NODE: Final = "node not found"
_BY_FID: Final = {
    "casts": "GetAllCastMessagesByFid",
    "reactions": "GetAllReactionMessagesByFid",
    "links": "GetAllLinkMessagesByFid",
    "compact_states": "GetLinkCompactStateMessageByFid",
    "verifications": "GetAllVerificationMessagesByFid",
    "user_data": "GetAllUserDataMessagesByFid",
    "lends": "GetAllLendStorageMessagesByFid",
}
LISTS: Final = tuple(_BY_FID)
"""What a node lists by FID, adds and removes alike."""


class GrpcNode:
    """One hub by gRPC. `sleep` is injected by tests.

    What may pass (no connection, no answer in time, too many requests) is tried again a few times. Errors name the hub,
    the call and what came back; headers, which may be secret, are in none. Raises ConfigError where grpcio is not
    installed.
    """

    def __init__(self, endpoint: HubEndpoint, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._channel = GrpcChannel(endpoint, sleep=sleep)

    @property
    def name(self) -> str:
        """Its address without anything secret."""
        return self._channel.name

    @property
    def may_be_several(self) -> bool:
        """Whether more nodes than one may answer for this address, each at a height of its own."""
        return not self._channel.endpoint.is_loopback

    @property
    def requests(self) -> int:
        """How many requests were sent, attempts in vain among them."""
        return self._channel.requests

    async def __aenter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None:
        """The node of a shard's trie at a prefix of whole bytes, as of now; None where nothing is below it.

        Raises HubError.
        """
        call = "GetTrieMetadataByPrefix"
        request = number_field(1, shard) + (bytes_field(2, prefix) if prefix else b"")
        try:
            answer = await self._channel.ask(call, request)
        except HubRefused as error:
            if error.detail is not None and _NO_SUCH_NODE in error.detail.lower():
                return None
            raise
        return self._read(call, answer, lambda told: _told_node(told, prefix))

    async def block(self, shard: int, height: int) -> SignedHeader | None:
        """The header of a block with its votes; None where the hub has none of that height. Raises HubError."""
        call = "GetShardChunks"
        request = number_field(1, shard) + number_field(2, height) + number_field(3, height + 1)
        answer = await self._channel.ask(call, request)
        found = self._read(call, answer, _blocks)
        return next((one for one in found if (one.header.shard, one.header.height) == (shard, height)), None)

    async def messages_by_fid(
        self, fid: int, lists: Collection[str] = LISTS, kinds: Collection[str] | None = None
    ) -> AsyncIterator[bytes]:
        """The live messages of an FID in these lists, as its home shard has them, as JSON.

        With `kinds`, only of these types. Raises HubError.
        """
        for call in (_BY_FID[name] for name in lists):
            token = b""
            while True:
                request = number_field(1, fid) + (bytes_field(3, token) if token else b"")
                answer = await self._channel.ask(call, request)
                messages, token = self._read(call, answer, lambda page: _page(page, kinds))
                for message in messages:
                    yield message
                if not token:
                    break

    async def info(self) -> HubInfo:
        """What the hub says of itself and of its shards, as `/v1/info`. Raises HubError."""
        call = "GetInfo"
        return self._read(call, await self._channel.ask(call, b""), _info)

    def _read(self, call: str, answer: bytes, read: Callable[[bytes], T]) -> T:
        try:
            return read(answer)
        except Malformed as error:
            raise HubError(f"{self.name} answered {call} with what is no such message: {error}") from error


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


def _page(answer: bytes, kinds: Collection[str] | None) -> tuple[list[bytes], bytes]:
    """The messages as JSON, and the token of the next page; empty at the end."""
    messages: list[bytes] = []
    token = b""
    for number, content in read_fields(answer):
        if isinstance(content, bytes):
            if number == 1 and (kinds is None or message_kind(content) in kinds):
                messages.append(message_json(content))
            elif number == 2:
                token = content
    return messages, token


def _info(answer: bytes) -> HubInfo:
    fields = last_fields(answer)
    shards = [
        _shard_info(content) for number, content in read_fields(answer) if number == 9 and isinstance(content, bytes)
    ]
    return HubInfo(
        version=bytes_in(fields, 1).decode("utf-8", "replace"), numShards=number_in(fields, 8), shardInfos=shards
    )


def _shard_info(content: bytes) -> ShardInfo:
    fields = last_fields(content)
    return ShardInfo(
        shardId=number_in(fields, 1),
        maxHeight=number_in(fields, 2),
        numMessages=number_in(fields, 3),
        numFidRegistrations=number_in(fields, 4),
        blockDelay=number_in(fields, 6),
        mempoolSize=number_in(fields, 7),
    )
