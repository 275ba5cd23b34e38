"""The way to a hub: proxies of every kind, TLS, connections that are kept or not, and answers that are no HTTP."""

import asyncio
import gzip
import ssl
import tracemalloc
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fc_pipeline.errors import HubUnavailable
from fc_pipeline.hub.client import HubBodyTooLarge, HubClient, HubDisconnected
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline_tests.support.acted_hub import DISCONNECT, ActedHub, Answer, client_for
from fc_pipeline_tests.support.own_certificate import write_certificate
from fc_pipeline_tests.support.way_proxy import WayProxy, way_proxy

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
SCHEMES = ("http", "socks5", "socks5h")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@asynccontextmanager
async def server(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncGenerator[tuple[int, list[str]]]:
    """Writes an answer per request, the last one again and again; gives its port, and the requests' heads."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                writer.write(answers[min(len(heads), len(answers)) - 1])
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield listening.sockets[0].getsockname()[1], heads
    listening.close()


async def asked(url: str) -> bytes:
    async with HubClient(HubEndpoint(url), retries=0) as hub:
        return await hub.get("/v1/info")


@pytest.mark.parametrize("credentials", ["", "me:p@ss/w"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_hub_is_asked_by_its_name_through_a_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str, credentials: str):
    async def main() -> WayProxy:
        async with server(OK) as (port, _), way_proxy(port, credentials) as proxy:
            user = credentials.replace("@", "%40").replace("/", "%2F") + "@" if credentials else ""
            monkeypatch.setenv("ALL_PROXY", f"{scheme}://{user}127.0.0.1:{proxy.port}")
            assert await asked("http://hub.example:81") == b"{}"
            return proxy

    proxy = asyncio.run(main())
    assert proxy.wanted == ["hub.example:81"]
    if credentials and proxy.heads:
        assert (
            f"proxy-authorization: basic {b64encode(credentials.encode()).decode()}".lower() in proxy.heads[0].lower()
        )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_tls_goes_through_a_proxy_and_trusts_whom_the_environment_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, scheme: str
):
    certificate, key = write_certificate(tmp_path, "hub.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def main(*, trusted: bool) -> bytes:
        async with server(OK, tls=tls) as (port, _), way_proxy(port) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            return await asked("https://hub.example")

    with pytest.raises(HubUnavailable, match=r"ConnectError.*certificate"):
        asyncio.run(main(trusted=False))
    assert asyncio.run(main(trusted=True)) == b"{}"


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x05\xff", b"\x04\x00", b""])
def test_what_a_socks_proxy_does_instead_is_told(monkeypatch: pytest.MonkeyPatch, greeting: bytes):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(3)
        writer.write(greeting)
        writer.close()

    async def main() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        monkeypatch.setenv("ALL_PROXY", f"socks5://me:hunter2@127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await asked("http://hub.example")

    with pytest.raises(HubUnavailable, match="ConnectError: the SOCKS proxy") as caught:
        asyncio.run(main())
    assert "hunter2" not in str(caught.value)


def test_a_proxy_that_is_not_there_is_told_without_its_password(monkeypatch: pytest.MonkeyPatch):
    for scheme in SCHEMES:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://me:hunter2@127.0.0.1:9")
        with pytest.raises(HubUnavailable, match=r"ConnectError.*127\.0\.0\.1:9") as caught:
            asyncio.run(asked("http://hub.example"))
        assert "hunter2" not in str(caught.value)


def test_a_connection_is_kept_until_another_node_is_wanted():
    async def main() -> tuple[int, int]:
        async with ActedHub() as hub, client_for(hub) as client:
            for _ in range(5):
                await client.get("/v1/info")
            kept = len(hub.connections)
            client.ask_another_node()
            for _ in range(3):
                await client.get("/v1/info")
            assert [headers.get("connection") for headers in hub.request_headers] == [None] * 5 + ["close"] * 3
            return kept, len(hub.connections) - kept

    assert asyncio.run(main()) == (1, 3)


def test_a_request_is_never_sent_twice_for_one_that_is_counted():
    """What kills a node once (hub-api T3) is not put to the next one behind the budget's back."""

    async def main() -> tuple[int, int]:
        async with ActedHub() as hub, client_for(hub, retries=0) as client:
            await client.get("/v1/info")
            hub.script = [DISCONNECT]
            with pytest.raises(HubDisconnected, match="without an answer"):
                await client.get("/v1/events")
            return len(hub.requests), client.requests

    assert asyncio.run(main()) == (2, 2)


def test_cookies_of_one_node_are_not_sent_to_the_next():
    async def main() -> dict[str, str]:
        async with ActedHub() as hub, client_for(hub) as client:
            hub.script = [Answer(headers={"set-cookie": "node=1"})]
            await client.get("/v1/info")
            await client.get("/v1/info")
            return hub.request_headers[1]

    assert "cookie" not in asyncio.run(main())


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"\x00\x01garbage\r\n\r\n", "closed without an answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}", "closed without an answer"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnone",
            "200, then the connection broke",
        ),
    ],
)
def test_what_is_no_http_is_no_answer(sent: bytes, says: str):
    async def main() -> None:
        async with server(sent) as (port, _):
            await asked(f"http://127.0.0.1:{port}")

    with pytest.raises(HubUnavailable, match=says):
        asyncio.run(main())


def test_a_compressed_answer_is_read_in_pieces_and_refused_at_the_bound():
    """A megabyte can become a gigabyte: it is not unpacked first and measured then."""
    packed = gzip.compress(b"{" + b" " * 200_000_000 + b"}", 1)
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)

    async def main() -> None:
        async with server(head + packed) as (port, _):
            endpoint = HubEndpoint(f"http://127.0.0.1:{port}")
            async with HubClient(endpoint, retries=0, max_body_bytes=1_000_000) as hub:
                await hub.get("/v1/info")

    tracemalloc.start()
    try:
        with pytest.raises(HubBodyTooLarge, match="more than 1000000 bytes"):
            asyncio.run(main())
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()
