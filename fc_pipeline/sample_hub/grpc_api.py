"""The gRPC API of the sample hub: trie, headers, counts and messages by FID, consistent with its log (node-db 3.5)."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import Any, Final

import grpc
import grpc.aio

from fc_pipeline.errors import ServiceError
from fc_pipeline.proof.protobuf import Malformed, bytes_field, bytes_in, last_fields, number_field, number_in
from fc_pipeline.proof.trie import Node
from fc_pipeline.sample_hub.chain import Chain
from fc_pipeline.sample_hub.encoding import message_bytes
from fc_pipeline.sample_hub.feed import PEER_ID, VERSION
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.state import Row

__all__ = ["grpc_api"]

_SERVICE: Final = "/HubService/"


class _Refused(Exception):
    """What a call is refused with."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@asynccontextmanager
async def grpc_api(hub: SampleHub, host: str, port: int) -> AsyncGenerator[int]:
    """Serve a hub that has a chain; gives the port. Port 0 takes a free one. Raises ServiceError where it is taken."""
    # Otherwise another server may listen on the same port, and each be asked now and then.
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Calls(hub),))
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as error:
        raise ServiceError(
            f"the sample hub cannot speak gRPC on {host}:{port}",
            hint="stop what uses the port, or choose another with --grpc-port (0 takes a free one)",
        ) from error
    await server.start()
    try:
        yield bound
    finally:
        await server.stop(None)


class _Calls(grpc.GenericRpcHandler):
    def __init__(self, hub: SampleHub) -> None:
        self._hub = hub

    def service(self, handler_call_details: Any) -> Any:
        answer = _ANSWERS.get(handler_call_details.method.removeprefix(_SERVICE))
        if answer is None:
            return None

        async def call(request: bytes, context: Any) -> bytes:
            try:
                self._refuse_wrong_key(context)
                return answer(self._hub, request)
            except _Refused as refusal:
                await context.abort(refusal.code, refusal.detail)
            except Malformed as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            return b""

        return grpc.unary_unary_rpc_method_handler(call)

    def _refuse_wrong_key(self, context: Any) -> None:
        wanted = self._hub.faults.api_key
        given = dict(context.invocation_metadata() or ()).get("x-api-key", "")
        if wanted is not None and given != wanted:
            raise _Refused(grpc.StatusCode.UNAUTHENTICATED, f"invalid API key {given}")


def _chain(hub: SampleHub) -> Chain:
    hub.advance()
    chain = hub.chain
    if chain is None:
        raise _Refused(grpc.StatusCode.UNIMPLEMENTED, "this hub keeps no trie")
    return chain


def _trie_metadata(hub: SampleHub, request: bytes) -> bytes:
    fields = last_fields(request)
    prefix = bytes_in(fields, 2)
    trie = _chain(hub).trie(number_in(fields, 1))
    if trie is None or hub.hosted(number_in(fields, 1)) is None:
        raise _Refused(grpc.StatusCode.INVALID_ARGUMENT, "no shard store for fid")
    told = trie.told(prefix)
    if told is None:
        raise _Refused(grpc.StatusCode.INTERNAL, "Node not found for the given prefix")
    path = bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))
    children = [_node(path + bytes((nibble,)), child) for nibble, child in told.children.items()]
    return _node(path, told.node) + b"".join(bytes_field(4, child) for child in children)


def _node(path: bytes, node: Node) -> bytes:
    return bytes_field(1, path) + number_field(2, node.leaf_count) + bytes_field(3, node.hash.hex().encode())


def _shard_chunks(hub: SampleHub, request: bytes) -> bytes:
    fields = last_fields(request)
    stop = number_in(fields, 3) if 3 in fields else None
    return b"".join(
        bytes_field(1, chunk) for chunk in _chain(hub).blocks(number_in(fields, 1), number_in(fields, 2), stop)
    )


def _info(hub: SampleHub, request: bytes) -> bytes:
    chain = _chain(hub)
    infos: list[bytes] = []
    for shard in hub.shards:
        trie = chain.trie(shard.shard)
        infos.append(
            number_field(1, shard.shard)
            + number_field(2, shard.head_height)
            + number_field(3, trie.root.leaf_count if trie else 0)
            + number_field(4, shard.registrations)
        )
    return b"".join(
        (
            bytes_field(1, VERSION.encode()),
            bytes_field(6, PEER_ID.encode()),
            number_field(8, len(infos)),
            *(bytes_field(9, info) for info in infos),
        )
    )


_MESSAGES_PAGE: Final = 1_000


def _listed(name: str) -> Callable[[SampleHub, bytes], bytes]:
    """The call that lists one set of an FID's messages, adds and removes, in the order of every list."""

    def answer(hub: SampleHub, request: bytes) -> bytes:
        hub.advance()
        fields = last_fields(request)
        sets = hub.state.fids.get(number_in(fields, 1))
        rows: list[Row] = sorted(getattr(sets, name).values(), key=_AGE) if sets is not None else []
        page_size = number_in(fields, 2) or _MESSAGES_PAGE
        start = int.from_bytes(bytes_in(fields, 3))
        end = start + page_size
        page = b"".join(bytes_field(1, message_bytes(row.raw)) for row in rows[start:end])
        return page + (bytes_field(2, end.to_bytes(8)) if end < len(rows) else b"")

    return answer


_AGE: Final = attrgetter("sort_key")

_ANSWERS: Final[dict[str, Callable[[SampleHub, bytes], bytes]]] = {
    "GetTrieMetadataByPrefix": _trie_metadata,
    "GetShardChunks": _shard_chunks,
    "GetInfo": _info,
    "GetAllCastMessagesByFid": _listed("casts"),
    "GetAllReactionMessagesByFid": _listed("reactions"),
    "GetAllLinkMessagesByFid": _listed("links"),
    "GetLinkCompactStateMessageByFid": _listed("compact_states"),
    "GetAllVerificationMessagesByFid": _listed("verifications"),
    "GetAllUserDataMessagesByFid": _listed("user_data"),
    "GetAllLendStorageMessagesByFid": _listed("lends"),
}
