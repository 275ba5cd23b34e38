"""Free TCP ports of this machine's addresses."""

import socket
from typing import Final

from fc_pipeline.errors import ServiceError

__all__ = ["free_port"]

_LOOPBACK: Final = "127.0.0.1"


def free_port(preferred: int = 0, host: str = _LOOPBACK) -> int:
    """The preferred port where it is free on an address or name of this machine, else any other.

    Raises:
        ServiceError: there is none, or the host is another machine's.
    """
    reason: OSError | None = None
    for port in (preferred, 0):
        try:
            # The first one, as the server takes it.
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as candidate:
                # As servers do: a port whose last connections are just closing counts as free.
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                candidate.bind(address)
                return candidate.getsockname()[1]
        except OSError as error:
            reason = error
    why = reason.strerror if reason else ""
    raise ServiceError(f"there is no free port on {host}: {why}", hint="is it an address of this machine?")
