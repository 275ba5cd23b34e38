"""The connections to one hub: a request is sent, its answer read as it arrives. Nothing is retried or timed here.

aiohttp itself and neither httpx nor httpx over aiohttp: asked for small answers in one run, these took 6 to 8 and 3
times the CPU of aiohttp, and 3.35 million users take some ten requests each (`make bench BENCH="--only by_fid"`). What
aiohttp does on its own is switched off: no redirects, cookies or time-outs, and no request is repeated behind the
budget's back.
"""

import logging
import os
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import aiohttp
import certifi
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.proxy import proxy_of

__all__ = ["Answer", "BrokenOff", "ConnectError", "HubConnections", "Unanswered"]

# Warnings about other people's servers, with the whole address in them, are neither wanted nor safe.
logging.getLogger("aiohttp").setLevel(logging.ERROR)

IDLE_SECONDS: Final = 5.0
"""How long a connection is kept for another request; servers close theirs after more."""
MAX_HEADER_BYTES: Final = 64 * 1024
READ_AHEAD_BYTES: Final = 256 * 1024
"""What of an answer is received before somebody reads it."""
SOCKS_PORT: Final = 1080


class ConnectError(Exception):
    """No connection to the hub, or to a proxy, or none that can be trusted; the text says why."""


class Unanswered(Exception):
    """The connection was closed without an answer, or with one that is no HTTP."""


class BrokenOff(Exception):
    """The body ended before its end, or cannot be decompressed."""


class Answer:
    """Status and headers of an answer whose body may still be arriving."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def is_whole(self) -> bool:
        """Whether all of the body is here: the next chunk is the last one, and not waited for."""
        return self._response.content.is_eof()

    async def chunk(self) -> bytes:
        """What came of the body since, decompressed; empty at its end. Raises BrokenOff."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise BrokenOff(str(error)) from error

    def close(self) -> None:
        """Give the connection up where the body was not read to its end; otherwise it is already free."""
        self._response.close()


class HubConnections:
    """Opened by the first request, and used from one event loop; `close` ends them. As many as there are requests."""

    def __init__(self, endpoint: HubEndpoint) -> None:
        self._endpoint = endpoint
        self._base_url = str(URL(endpoint.base_url))
        # The environment's proxy is for other machines, not for this one.
        self._proxy = None if endpoint.is_loopback else proxy_of(endpoint.base_url)
        self._kept: aiohttp.ClientSession | None = None
        self._fresh: aiohttp.ClientSession | None = None

    async def get(self, request: str, *, on_a_new_one: bool = False) -> Answer:
        """The answer as soon as its headers are here; to be closed. `request` is path and query, percent-encoded.

        `on_a_new_one`: on a connection of its own, which no later request uses. Raises ConnectError and Unanswered.
        """
        if on_a_new_one:
            session = self._fresh = self._fresh or self._session(force_close=True)
        else:
            session = self._kept = self._kept or self._session(keepalive_timeout=IDLE_SECONDS)
        url = URL(self._base_url + request, encoded=True)
        return Answer(await session.get(url, allow_redirects=False))

    async def close(self) -> None:
        """Close all of them."""
        for session in (self._kept, self._fresh):
            if session is not None:
                await session.close()

    def _session(self, **lifetime: Any) -> aiohttp.ClientSession:
        # The client counts its requests.
        options: dict[str, Any] = {"limit": 0, **lifetime}
        if "https" in (urlsplit(self._base_url).scheme, urlsplit(self._proxy or "").scheme):
            options["ssl"] = _certificates(trust_env=not self._endpoint.is_loopback)
        is_socks = self._proxy is not None and urlsplit(self._proxy).scheme.startswith("socks")
        return aiohttp.ClientSession(
            connector=_socks_connector(self._proxy or "", options) if is_socks else aiohttp.TCPConnector(**options),
            proxy=None if is_socks else self._proxy,
            headers=_headers(self._endpoint),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            middlewares=(_in_our_words,),
            read_bufsize=READ_AHEAD_BYTES,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
        )


async def _in_our_words(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Name errors before aiohttp sees them, which would send the request once more after some of them."""
    try:
        return await send(request)
    except aiohttp.ClientHttpProxyError as error:
        raise ConnectError(f"the proxy answers {error.status} {error.message}") from error
    except (aiohttp.ClientConnectorError, ssl.SSLError, UnicodeError) as error:
        raise ConnectError(str(error)) from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unanswered(str(error)) from error
    except EOFError as error:  # of a SOCKS proxy: the connection was closed within its greeting
        raise ConnectError("the SOCKS proxy closes the connection") from error
    except Exception as error:
        if not type(error).__module__.startswith("aiohttp_socks"):
            raise
        raise ConnectError(f"the SOCKS proxy: {error}") from error


def _headers(endpoint: HubEndpoint) -> CIMultiDict[str]:
    headers = CIMultiDict({"user-agent": "fc-pipeline"})
    headers.update(endpoint.headers)
    if endpoint.basic_auth is not None:
        headers["authorization"] = aiohttp.encode_basic_auth(*endpoint.basic_auth)
    return headers


def _socks_connector(proxy: str, options: Mapping[str, Any]) -> aiohttp.BaseConnector:
    """Connections through a SOCKS5 proxy, which looks up the hub's name."""
    from aiohttp_socks import ProxyConnector  # what few need is not loaded for all

    parts = urlsplit(proxy)
    return ProxyConnector(
        host=parts.hostname or "",
        port=parts.port or SOCKS_PORT,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        rdns=True,
        **options,
    )


def _certificates(*, trust_env: bool) -> ssl.SSLContext:
    """The certificates that are trusted: those of SSL_CERT_FILE or SSL_CERT_DIR, else Mozilla's."""
    file, folder = (os.environ.get(name) if trust_env else None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    return _read_certificates(file or (None if folder else certifi.where()), None if file else folder)


@cache
def _read_certificates(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Read once per process: it takes 30 ms of CPU."""
    return ssl.create_default_context(cafile=file, capath=folder)
