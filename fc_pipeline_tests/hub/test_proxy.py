"""Proxies of the environment: used for hubs elsewhere, refused by name where they cannot be, never for this machine."""

import asyncio
import socket
import threading

import pytest

from fc_pipeline.errors import ConfigError, HubUnavailable
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.proxy import proxy_of
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving

VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("proxy", ["socks4://me:hunter2@h:1", "ftp://h", "http://h:port", "socks5://"])
def test_a_proxy_that_cannot_be_used_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str):
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(ConfigError, match=variable) as caught:
        HubEndpoint("https://hub.example")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "socks4://127.0.0.1:9", "http://127.0.0.1:9"])
def test_a_hub_on_this_machine_is_asked_without_any(monkeypatch: pytest.MonkeyPatch, proxy: str):
    for name in VARIABLES:
        monkeypatch.setenv(name, proxy)

    async def ask(url: str) -> bytes:
        async with HubClient(HubEndpoint(url)) as hub:
            return await hub.get("/v1/info")

    lines = generate(7, fids=5, events=50, start_unix=1_760_000_000, events_per_second=5.0)
    with serving(log_from_lines(lines)) as url:
        assert asyncio.run(ask(url)).startswith(b"{")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://hub.example", "http://plain:1"),
        ("https://hub.example", "socks5://all:2"),
        ("https://nodes.other.example:3381", None),
        ("http://other.example", None),
        ("http://another.example", "http://plain:1"),
        ("http://third.example:3381", None),
        ("http://third.example", "http://plain:1"),
        ("http://10.1.2.3:3381", None),
    ],
)
def test_which_proxy_leads_where(monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None):
    monkeypatch.setenv("http_proxy", "plain:1")
    monkeypatch.setenv("ALL_PROXY", "socks5://all:2")
    monkeypatch.setenv("NO_PROXY", "other.example, third.example:3381,10.1.2.3")
    assert proxy_of(url) == proxy


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_is_spoken_to(monkeypatch: pytest.MonkeyPatch, scheme: str):
    """The first bytes that a SOCKS5 proxy is sent are its version and the ways to authenticate."""
    greeting: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:

        def answer() -> None:
            connection, _ = proxy.accept()
            with connection:
                greeting.append(connection.recv(16))

        answering = threading.Thread(target=answer)
        answering.start()
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{proxy.getsockname()[1]}")

        async def ask() -> None:
            async with HubClient(HubEndpoint("http://hub.example"), retries=0) as hub:
                await hub.get("/v1/info")

        with pytest.raises(HubUnavailable):
            asyncio.run(ask())
        answering.join(10)
    assert greeting[0][:1] == b"\x05"
