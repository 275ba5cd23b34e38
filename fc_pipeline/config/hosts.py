"""Whether a URL's server is on this machine."""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from fc_pipeline.config.postgres_url import PostgresUrl

__all__ = ["in_url", "is_loopback", "is_this_machine"]


def in_url(host: str) -> str:
    """A host as a URL has it: an address of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(url: str) -> bool:
    """Whether a URL's host is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_this_machine(postgres_url: str) -> bool:
    """Whether all servers of a libpq URL are on this machine: by socket, loopback, or an address or name of its own."""
    return all(not host or host[0] in "/@" or _is_own(host) for host in PostgresUrl.parse(postgres_url).servers)


def _is_own(host: str) -> bool:
    if is_loopback(f"//{in_url(host)}") or host == socket.gethostname():
        return True
    import psutil  # no other setting needs it

    addresses = (address.address for interface in psutil.net_if_addrs().values() for address in interface)
    return host in addresses
