"""The environment's proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY), used for hubs on other machines."""

from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies

from fc_pipeline.errors import ConfigError

__all__ = ["check_proxies"]

_KINDS: Final = frozenset({"http", "https", "socks5", "socks5h"})
_READ_BY_HTTPX: Final = ("http", "https", "all")


def check_proxies() -> None:
    """Raise ConfigError where a proxy variable names what no request could go through; never quotes its password."""
    proxies = getproxies()
    for name in _READ_BY_HTTPX:
        value = proxies.get(name)
        if value and not _is_usable(value):
            raise ConfigError(
                f"the variable {name.upper()}_PROXY names a proxy that cannot be used",
                hint=f"expected: {', '.join(f'{kind}://' for kind in sorted(_KINDS))}, then host:port; or unset it",
            )


def _is_usable(value: str) -> bool:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in _KINDS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
