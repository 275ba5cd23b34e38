"""A hub's endpoint: its address, the headers it requires, and the requests per second it allows."""

import ipaddress
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from fc_pipeline.errors import ConfigError
from fc_pipeline.hub.proxy import check_proxies

__all__ = ["HubEndpoint"]

HIDDEN: Final = "…hidden…"
SHORTEST_SECRET: Final = 6
SHORTEST_SECRET_PATH: Final = 12
"""Shorter values are no secrets, and redacting them would garble messages."""


@dataclass(frozen=True)
class HubEndpoint:
    """One hub. `requests_per_second` None means no limit; all processes with one `budget_redis_url` share it.

    Raises ConfigError where the address, a header or the environment's proxy cannot be used. Headers, user and
    password, path and query of the address may be secrets: they are in no repr and no error.
    """

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    requests_per_second: float | None = None
    budget_redis_url: str | None = field(default=None, repr=False)
    name: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts = _split(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        port = f":{parts.port}" if parts.port else ""
        object.__setattr__(self, "name", f"{parts.scheme}://{host}{port}")
        object.__setattr__(self, "headers", MappingProxyType(dict(self.headers)))
        for name, value in self.headers.items():
            if not _is_header(name, value):
                raise ConfigError(
                    f"the header {name!r} for hub {self.name} cannot be sent",
                    hint="FC_HUB_HEADERS is a JSON object of names and values in printable ASCII",
                )
        if not self.is_loopback:
            check_proxies()
        if self.requests_per_second is not None and not self.requests_per_second > 0:
            raise ConfigError(
                f"requests per second for hub {self.name} must be above 0, not {self.requests_per_second}",
                hint="set FC_HUB_RPS to a positive number, or leave it unset",
            )

    @property
    def base_url(self) -> str:
        """The address without user and password."""
        parts = urlsplit(self.url)
        return f"{self.name}{parts.path.rstrip('/')}"

    @property
    def basic_auth(self) -> tuple[str, str] | None:
        """User and password of the address, where it has them."""
        parts = urlsplit(self.url)
        if parts.username is None:
            return None
        return unquote(parts.username), unquote(parts.password or "")

    def redacted(self, text: str) -> str:
        """A text of the hub, or about it, without secrets: some hubs repeat the key that they refuse."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    @cached_property
    def _secrets(self) -> list[str]:
        """Header values and their words, user and password as they are sent, long parts of the path; longest first."""
        basic = self.basic_auth
        sent = [b64encode(":".join(basic).encode()).decode(), basic[1]] if basic else []
        path = [part for part in urlsplit(self.url).path.split("/") if len(part) >= SHORTEST_SECRET_PATH]
        words = [word for value in self.headers.values() for word in re.split(r"[\s=,;:\"']+", value)]
        found = {*self.headers.values(), *words, *sent, *path}
        written = {form for one in found for form in (one, quote(one, safe=""), json.dumps(one)[1:-1])}
        return sorted((one for one in written if len(one) >= SHORTEST_SECRET), key=len, reverse=True)

    @property
    def is_loopback(self) -> bool:
        """Whether the hub runs on this machine."""
        host = urlsplit(self.url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
        parts = SplitResult("", "", "", "", "")
    if not usable or parts.query or parts.fragment:
        raise ConfigError(
            "a hub address is not of the form http(s)://host[:port]",
            hint="check FC_HUB_URLS; API keys belong into FC_HUB_HEADERS",
        )
    return parts


def _is_header(name: object, value: object) -> bool:
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    token = name.replace("-", "").replace("_", "")
    return token.isascii() and token.isalnum() and value.isascii() and (value.isprintable() or not value)
