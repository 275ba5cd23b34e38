"""The environment's proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, but NO_PROXY), used for hubs on other machines."""

from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fc_pipeline.errors import ConfigError

__all__ = ["check_proxies", "proxy_of"]

_KINDS: Final = frozenset({"http", "https", "socks5", "socks5h"})
_VARIABLES: Final = ("http", "https", "all")


def check_proxies() -> None:
    """Raise ConfigError where a proxy variable names what no request could go through; never quotes its password."""
    proxies = getproxies()
    for name in _VARIABLES:
        value = proxies.get(name)
        if value and not _is_usable(value):
            raise ConfigError(
                f"the variable {name.upper()}_PROXY names a proxy that cannot be used",
                hint=f"expected: {', '.join(f'{kind}://' for kind in sorted(_KINDS))}, then host:port; or unset it",
            )


def proxy_of(url: str) -> str | None:
    """The proxy through which an address is asked, as scheme://[user:password@]host[:port]; None: directly."""
    parts = urlsplit(url)
    proxies = getproxies()
    value = proxies.get(parts.scheme) or proxies.get("all")
    if not value or proxy_bypass(parts.netloc):
        return None
    return _with_scheme(value)


def _is_usable(value: str) -> bool:
    try:
        parts = urlsplit(_with_scheme(value))
        return parts.scheme in _KINDS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _with_scheme(value: str) -> str:
    return value if "://" in value else f"http://{value}"
