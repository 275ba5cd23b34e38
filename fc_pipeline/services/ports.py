"""Free TCP ports on this machine's loopback address."""

import socket

from fc_pipeline.errors import ServiceError

__all__ = ["free_port"]


def free_port(preferred: int = 0) -> int:
    """The preferred port where it is free on 127.0.0.1, else any other.

    Raises:
        ServiceError: there is none.
    """
    for port in (preferred, 0):
        with socket.socket() as candidate:
            # As servers do: a port whose last connections are just closing counts as free.
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return candidate.getsockname()[1]
    raise ServiceError("there is no free port on 127.0.0.1")
