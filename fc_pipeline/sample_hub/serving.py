"""Running the sample hub's application on uvicorn: in a thread for tests, and the server that the command runs."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fc_pipeline.errors import ServiceError
from fc_pipeline.sample_hub.app import CLOSE_CONNECTION, GrpcAt, hub_app
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.hub import Dialect, Growth, SampleHub
from fc_pipeline.sample_hub.log import EventLog

__all__ = ["hub_server", "listening_socket", "serving", "serving_hub"]

START_SECONDS: Final = 10.0


class ClosableHttpProtocol(HttpToolsProtocol):
    """HTTP that lets the application close the connection without an answer, as a panicking hub does (hub-api 1.3)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope = cast(dict[str, Any], self.scope)
        scope.setdefault("extensions", {})[CLOSE_CONNECTION] = {"close": self.transport.close}


def hub_server(app: Starlette) -> uvicorn.Server:
    """A quiet uvicorn server for the application."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        http=ClosableHttpProtocol,
        ws="none",
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,
    )
    return uvicorn.Server(config)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 takes a free one. Raises ServiceError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ServiceError(
            f"the sample hub cannot listen on {host}:{port}: {error.strerror or error}",
            hint="stop what uses the port, or choose another with --port (0 takes a free one)",
        ) from error
    return listener


@contextmanager
def serving_hub(hub: SampleHub, grpc_at: GrpcAt | None = None) -> Generator[str]:
    """Serve the hub on a free loopback port in a thread; gives its base URL and stops it at the end."""
    listener = listening_socket("127.0.0.1", 0)
    server = hub_server(hub_app(hub, grpc_at))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sample-hub", daemon=True)
    thread.start()
    try:
        _wait_until_started(server, thread)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(START_SECONDS)
        listener.close()


@contextmanager
def serving(
    log: EventLog,
    *,
    growth: Growth | None = None,
    clock: Callable[[], float] = time.time,
    retention_seconds: float | None = None,
    dialect: Dialect = "snapchain",
    faults: Faults | None = None,
    **fault_values: Any,
) -> Generator[str]:
    """Serve the log on a free loopback port; gives the base URL.

    What is wrong with the hub is said by keywords (the fields of `Faults`), or by a `Faults` object that the caller
    keeps and changes while the hub runs.
    """
    hub = SampleHub(
        log,
        growth=growth,
        faults=faults or Faults(**fault_values),
        clock=clock,
        retention_seconds=retention_seconds,
        dialect=dialect,
    )
    with serving_hub(hub) as base_url:
        yield base_url


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise ServiceError("the sample hub did not start", hint="see the error that its thread printed")
        time.sleep(0.005)
