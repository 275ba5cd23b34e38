"""A server of the standard library, served by a thread of its own."""

import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["served"]


@contextmanager
def served(server: socketserver.BaseServer) -> Generator[None]:
    """Serve until the end, and close it then."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
