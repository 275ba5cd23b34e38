"""A hub's gRPC API: a recorded node's answers are understood, and what goes wrong is said."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest

from fc_pipeline.errors import HubError, HubRefused, HubUnavailable
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.proof.leaf_keys import fid_prefix
from fc_pipeline_tests.support.replayed_grpc import replayed_grpc

Context = grpc.aio.ServicerContext[bytes, bytes]
Answer = Callable[[bytes, Context], Awaitable[bytes]]

KEY = "secret-key-of-a-hosted-hub"


class Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return grpc.unary_unary_rpc_method_handler(self.answer)


@asynccontextmanager
async def serving(answer: Answer) -> AsyncGenerator[GrpcNode]:
    """A node that answers so, and our client of it, which waits for nothing before it tries again."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(answer),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        endpoint = HubEndpoint(f"http://127.0.0.1:{port}", headers={"X-Api-Key": KEY})
        async with GrpcNode(endpoint, sleep=lambda _: asyncio.sleep(0)) as node:
            yield node
    finally:
        await server.stop(None)


def asked(answer: Answer, ask: Callable[[GrpcNode], Awaitable[object]]) -> object:
    async def run() -> object:
        async with serving(answer) as node:
            return await ask(node)

    return asyncio.run(run())


async def root(node: GrpcNode) -> object:
    return await node.trie_node(1, b"")


def test_a_recorded_node_tells_of_its_trie_and_headers(shared_fixtures: Path) -> None:
    async def ask(url: str) -> None:
        async with GrpcNode(HubEndpoint(url)) as node:
            top = await node.trie_node(1, b"")
            assert top is not None
            assert top.node.leaf_count == 1779
            assert sum(child.leaf_count for child in top.children.values()) == top.node.leaf_count
            user = await node.trie_node(1, fid_prefix(1000))
            assert user is not None
            assert 0 < user.node.leaf_count < 1779
            assert await node.trie_node(1, fid_prefix(999_999)) is None
            block = await node.block(1, 1864)
            assert block is not None
            assert (block.header.shard, block.header.height) == (1, 1864)
            assert block.header.shard_root == top.node.hash
            assert await node.block(1, 900) is None
            with pytest.raises(HubRefused, match="INVALID_ARGUMENT"):
                await node.trie_node(0, b"")

    with replayed_grpc(shared_fixtures) as url:
        asyncio.run(ask(url))


def test_what_may_pass_is_tried_again() -> None:
    attempts: list[bytes] = []

    async def answer(request: bytes, context: Context) -> bytes:
        attempts.append(request)
        if len(attempts) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        return b""

    assert asked(answer, root) is not None
    assert len(attempts) == 3


def test_a_hub_that_stays_away_is_named() -> None:
    async def answer(request: bytes, context: Context) -> bytes:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"slow down, {KEY}")
        return b""

    with pytest.raises(HubUnavailable, match=r"127\.0\.0\.1.*GetTrieMetadataByPrefix in 4 attempts") as caught:
        asked(answer, root)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (grpc.StatusCode.UNAUTHENTICATED, "FC_HUB_HEADERS"),
        (grpc.StatusCode.UNIMPLEMENTED, "FC_HUB_GRPC"),
        (grpc.StatusCode.INTERNAL, "disk"),
    ],
)
def test_what_a_hub_refuses_is_not_tried_again(code: grpc.StatusCode, remedy: str) -> None:
    attempts: list[bytes] = []

    async def answer(request: bytes, context: Context) -> bytes:
        attempts.append(request)
        await context.abort(code, "disk on fire")
        return b""

    with pytest.raises(HubRefused, match=remedy):
        asked(answer, root)
    assert len(attempts) == 1


def test_headers_are_sent_in_lower_case() -> None:
    sent: list[tuple[str, str]] = []

    async def answer(request: bytes, context: Context) -> bytes:
        sent.extend((name, str(value)) for name, value in context.invocation_metadata() or ())
        return b""

    asked(answer, root)
    assert ("x-api-key", KEY) in sent


@pytest.mark.parametrize("body", [b"\xff", b"\x1a\x02zz", b"\x1a\x04abcd", b"\x22\x03\x0a\x01\x20"])
def test_an_answer_that_is_no_such_message_is_an_error(body: bytes) -> None:
    async def answer(request: bytes, context: Context) -> bytes:
        return body

    with pytest.raises(HubError, match="GetTrieMetadataByPrefix"):
        asked(answer, root)


def test_where_nothing_listens_the_setting_is_named() -> None:
    async def ask() -> None:
        async with GrpcNode(HubEndpoint("http://127.0.0.1:1"), sleep=lambda _: asyncio.sleep(0)) as node:
            await node.trie_node(1, b"")

    with pytest.raises(HubUnavailable, match="FC_HUB_GRPC"):
        asyncio.run(ask())
