"""The way to a hub's gRPC: TLS, keys, what speaks no gRPC, shards that it lacks, the extra that is missing."""

import asyncio
import builtins
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from fc_pipeline.errors import ConfigError, HubError, HubRefused, HubUnavailable
from fc_pipeline.hub.client import HubKeyRefused, HubLacksEndpoint
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_channel import GrpcChannel
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline_tests.support.own_certificate import write_certificate
from fc_pipeline_tests.support.replayed_grpc import replayed_grpc

Answer = Callable[[bytes, Any], Awaitable[bytes]]


class Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.answer)


async def asked(
    answer: Answer, *, headers: dict[str, str] | None = None, tls: tuple[Path, Path] | None = None
) -> bytes:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(answer),))
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        certificate, key = tls
        credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    scheme, host = ("https", "hub.localhost") if tls else ("http", "127.0.0.1")
    channel = GrpcChannel(HubEndpoint(f"{scheme}://{host}:{port}", headers or {}), sleep=lambda _: asyncio.sleep(0))
    try:
        return await channel.ask("GetInfo", b"")
    finally:
        await channel.close()
        await server.stop(None)


def test_a_certificate_that_nobody_trusts_is_no_way_in(tmp_path: Path) -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        return b"never"

    with pytest.raises(HubUnavailable, match="https"):
        asyncio.run(asked(answer, tls=write_certificate(tmp_path, "hub.localhost")))


def test_a_certificate_that_is_trusted_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = write_certificate(tmp_path, "hub.localhost")
    monkeypatch.setattr("certifi.where", lambda: str(certificate))

    async def answer(request: bytes, context: Any) -> bytes:
        return b"hello"

    assert asyncio.run(asked(answer, tls=(certificate, key))) == b"hello"


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_a_wrong_key_is_told_and_not_repeated(code: grpc.StatusCode) -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        await context.abort(code, f"key {dict(context.invocation_metadata())['x-api-key']} is unknown")
        return b""

    with pytest.raises(HubKeyRefused, match="FC_HUB_HEADERS") as caught:
        asyncio.run(asked(answer, headers={"X-Api-Key": "a-secret-key"}))
    assert "a-secret-key" not in str(caught.value)


def test_a_call_that_a_node_does_not_know_is_told() -> None:
    async def answer(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        return b""

    with pytest.raises(HubLacksEndpoint, match="FC_HUB_GRPC"):
        asyncio.run(asked(answer))


def test_a_shard_that_a_node_does_not_host_is_told(shared_fixtures: Path) -> None:
    async def ask(url: str) -> None:
        async with GrpcNode(HubEndpoint(url)) as node:
            with pytest.raises(HubRefused, match="no trie of shard 0"):
                await node.trie_node(0, b"")

    with replayed_grpc(shared_fixtures) as url:
        asyncio.run(ask(url))


def test_a_server_that_speaks_http_only_is_told() -> None:
    async def ask() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(24)
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, GrpcNode(HubEndpoint(f"http://127.0.0.1:{port}"), sleep=lambda _: asyncio.sleep(0)) as node:
            await node.info()

    with pytest.raises(HubError, match="its HTTP API is at another"):
        asyncio.run(ask())


def test_without_the_extra_the_setting_and_the_remedy_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_grpc(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "grpc":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_grpc)
    with pytest.raises(ConfigError, match=r"FC_HUB_GRPC needs grpcio.*fc-pipeline\[grpc\]"):
        GrpcNode(HubEndpoint("http://127.0.0.1:1"))
