"""One hub over gRPC: unary calls with retries, the hub's request budget, TLS, metadata, and clear errors.

Messages are bytes here. UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED and ABORTED may pass and are tried again,
any other status is a refusal.
"""

import asyncio
import os
import random as random_module
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import certifi

from fc_pipeline.errors import ConfigError, HubRefused, HubUnavailable
from fc_pipeline.hub.budget import MAX_RETRY_AFTER_SECONDS
from fc_pipeline.hub.client import API_KEY_HINT, HubKeyRefused, HubLacksEndpoint
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.request_counts import REQUEST_COUNTS
from fc_pipeline.hub.shared_budget import budget_of

if TYPE_CHECKING:
    import grpc
    import grpc.aio

__all__ = ["GrpcChannel", "NodeUnavailable"]

SERVICE: Final = "/HubService/"
TIMEOUT_SECONDS: Final = 10.0
MAX_ATTEMPTS: Final = 4
FIRST_BACKOFF_SECONDS: Final = 0.3
MAX_ANSWER_BYTES: Final = 64 << 20
"""A block with all its transactions is in the answer that has its header."""

_TRANSIENT: Final = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED")
_KEY_REFUSED: Final = ("UNAUTHENTICATED", "PERMISSION_DENIED")
_NOT_INSTALLED_HINT: Final = "pip install 'fc-pipeline[grpc]', or pip install grpcio; or unset FC_HUB_GRPC"
_ADDRESS_HINT: Final = (
    "FC_HUB_GRPC is where the hub speaks gRPC, port 3383 unless told otherwise (its HTTP API is at another), with "
    "https for TLS and http without"
)
_NO_SUCH_CALL_HINT: Final = "FC_HUB_GRPC is to name a Snapchain node that tells of its trie and headers"
_NO_SHARD_HINT: Final = "a node tells of the shards that it hosts, by its configuration, and of no trie of shard 0"


class NodeUnavailable(HubUnavailable):
    """No answer over gRPC, which says nothing of the hubs over HTTP."""


class GrpcChannel:
    """Calls to one hub. For one event loop; connects with the first call. `sleep` is injected by tests.

    Raises ConfigError where grpcio is not installed. Headers, which may be secret, are in no error.
    """

    def __init__(self, endpoint: HubEndpoint, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self._grpc = _library()
        self._budget = budget_of(endpoint)
        self._sleep = sleep
        self._channel: grpc.aio.Channel | None = None

    @property
    def name(self) -> str:
        """The hub's address without anything secret."""
        return self.endpoint.name

    async def close(self) -> None:
        """Close the connection."""
        await self._budget.close()
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def ask(self, call: str, request: bytes) -> bytes:
        """The answer to a call, both as protobuf.

        Raises NodeUnavailable when the attempts are used up, HubRefused (HubKeyRefused, HubLacksEndpoint) at once.
        """
        attempt = 0
        while True:
            await self._budget.acquire()
            if self._budget.paused_seconds > MAX_RETRY_AFTER_SECONDS:
                raise NodeUnavailable(f"hub {self.name} {call}: the hub asks to be left alone for longer")
            self.requests += 1
            REQUEST_COUNTS.sent(self.name)
            try:
                return await self._send(call, request, TIMEOUT_SECONDS * 2**attempt)
            except self._grpc.aio.AioRpcError as error:
                REQUEST_COUNTS.failed(self.name)
                attempt += 1
                detail = self.endpoint.redacted(error.details() or "")
                said = f"{error.code().name}: {detail}" if detail else error.code().name
                if error.code().name not in _TRANSIENT:
                    raise self._refused(call, error.code().name, said, detail) from None
                if attempt == MAX_ATTEMPTS:
                    raise NodeUnavailable(
                        f"hub {self.name} did not answer {call} in {MAX_ATTEMPTS} attempts: {said}", hint=_ADDRESS_HINT
                    ) from None
            await self._sleep(FIRST_BACKOFF_SECONDS * 2**attempt * (0.5 + random_module.random() / 2))  # noqa: S311

    def _refused(self, call: str, code: str, said: str, detail: str) -> HubRefused:
        what = f"hub {self.name} refused {call}: {said}"
        if code in _KEY_REFUSED:
            return HubKeyRefused(what, hint=API_KEY_HINT, detail=detail)
        if code == "UNIMPLEMENTED":
            return HubLacksEndpoint(what, hint=_NO_SUCH_CALL_HINT, detail=detail)
        # Of a server of HTTP grpc says that it got no gRPC, as UNKNOWN or INTERNAL.
        if code == "UNKNOWN" and "http" in detail.lower():
            return HubRefused(what, hint=_ADDRESS_HINT, detail=detail)
        if code == "INVALID_ARGUMENT" and "shard" in detail:
            return HubRefused(what, hint=_NO_SHARD_HINT, detail=detail)
        return HubRefused(what, detail=detail)

    async def _send(self, call: str, request: bytes, timeout_seconds: float) -> bytes:
        send = self._connected().unary_unary(SERVICE + call)
        return await send(request, timeout=timeout_seconds, metadata=self._metadata())

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """The endpoint's headers; gRPC has their names in lower case."""
        sent = {name.lower(): value for name, value in self.endpoint.headers.items()}
        if self.endpoint.basic_auth is not None:
            sent["authorization"] = f"Basic {b64encode(':'.join(self.endpoint.basic_auth).encode()).decode()}"
        return tuple(sent.items())

    def _connected(self) -> "grpc.aio.Channel":
        channel = self._channel
        if channel is None:
            parts = urlsplit(self.endpoint.url)
            is_tls = parts.scheme == "https"
            target = f"{self.endpoint.name.partition('://')[2]}{'' if parts.port else ':443' if is_tls else ':80'}"
            options: list[tuple[str, int]] = [
                ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
                # The environment's proxy is for other machines, not for this one.
                ("grpc.enable_http_proxy", 0 if self.endpoint.is_loopback else 1),
            ]
            if is_tls:
                roots = self._grpc.ssl_channel_credentials(_certificates(trust_env=not self.endpoint.is_loopback))
                channel = self._grpc.aio.secure_channel(target, roots, options=options)
            else:
                channel = self._grpc.aio.insecure_channel(target, options=options)
            self._channel = channel
        return channel


def _library() -> Any:
    """Grpcio, which is an extra. Raises ConfigError."""
    try:
        import grpc
        import grpc.aio  # pyright: ignore[reportUnusedImport] - used as an attribute
    except ImportError as error:
        raise ConfigError("FC_HUB_GRPC needs grpcio, which is not installed", hint=_NOT_INSTALLED_HINT) from error
    return grpc


def _certificates(*, trust_env: bool) -> bytes:
    """The certificates that are trusted, as for HTTP: those of SSL_CERT_FILE, else Mozilla's. Raises ConfigError."""
    file = os.environ.get("SSL_CERT_FILE") if trust_env else None
    try:
        return Path(file or certifi.where()).read_bytes()
    except OSError as error:
        raise ConfigError(f"SSL_CERT_FILE is {file!r}, which cannot be read: {error.strerror}") from error
