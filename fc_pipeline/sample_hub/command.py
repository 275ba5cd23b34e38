"""The sample hub as a program of its own: `fc-pipeline sample-hub`."""

import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Final

from fc_pipeline.errors import ConfigError
from fc_pipeline.sample_hub.app import GrpcAt, hub_app
from fc_pipeline.sample_hub.chain import Chain
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.hub import Growth, SampleHub
from fc_pipeline.sample_hub.live import Endless, Reveal
from fc_pipeline.sample_hub.log import EventLog, load_log, log_from_lines
from fc_pipeline.sample_hub.serving import hub_server, listening_socket

__all__ = ["DEFAULT_LIVE_RATE", "run_sample_hub", "sample_hub"]

DEFAULT_LIVE_RATE: Final = 20.0
HOUR_SECONDS: Final = 3600.0
GENERATED_EVENTS_PER_SECOND: Final = 50.0


def run_sample_hub(
    log_path: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int = 3381,
    grpc_port: int | None = None,
    live_rate: float | None = None,
    endless: bool = False,
    record: Path | None = None,
    seed: int = 1,
    generate_events: int | None = None,
    fids: int = 1000,
    retention_hours: float | None = None,
    echo: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; see `sample_hub` for what is served. Port 0 takes a free one.

    With a `grpc_port` it answers about its trie and its headers, too. Once it listens, a line for each says where,
    through `echo` (standard output by default), and which key signs the headers. Raises ConfigError for arguments that
    do not fit together or a log that cannot be read, ServiceError where a port is taken.
    """
    hub = sample_hub(
        log_path,
        live_rate=live_rate,
        endless=endless,
        record=record,
        seed=seed,
        generate_events=generate_events,
        fids=fids,
        retention_hours=retention_hours,
        has_chain=grpc_port is not None,
    )
    say = echo or _print_line
    listener = listening_socket(host, port)
    try:
        server = hub_server(hub_app(hub, _grpc_at(host, grpc_port, say)))

        def stop(number: int, frame: FrameType | None) -> None:
            """Before the server has handlers of its own; it also hands the signal on to this once it has stopped."""
            server.should_exit = True

        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            say(f"sample hub: http://{host}:{listener.getsockname()[1]} ({hub.log.events:,} events)")
            server.run(sockets=[listener])
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    finally:
        listener.close()


def sample_hub(
    log_path: Path | None,
    *,
    live_rate: float | None = None,
    endless: bool = False,
    record: Path | None = None,
    seed: int = 1,
    generate_events: int | None = None,
    fids: int = 1000,
    retention_hours: float | None = None,
    has_chain: bool = False,
) -> SampleHub:
    """A hub over a recorded log, or over a generated one of so many events and FIDs that ends now.

    With `live_rate` (events per second) the log's blocks appear one after another; with `endless` the log is history
    and new blocks follow at that rate, kept in the file `record` across restarts. Blocks older than `retention_hours`
    are dropped. One that `has_chain` keeps the shards' tries and headers. Raises ConfigError for arguments that
    do not fit together.
    """
    if (log_path is None) == (generate_events is None):
        raise ConfigError(
            "the sample hub needs either a log or a number of events to generate", hint="give --log or --events"
        )
    if record is not None and not endless:
        raise ConfigError("a record is kept in endless mode only", hint="add --endless or leave out --record")
    now = time.time()
    log = load_log(log_path) if log_path is not None else _generated(seed, generate_events or 0, fids, now)
    return SampleHub(
        log,
        growth=_growth(log, live_rate, endless=endless, record=record, seed=seed, now_unix=now),
        retention_seconds=None if retention_hours is None else retention_hours * HOUR_SECONDS,
        chain=Chain() if has_chain else None,
    )


def _grpc_at(host: str, port: int | None, say: Callable[[str], None]) -> GrpcAt | None:
    """Raises ConfigError where grpcio is not installed, ServiceError where the port is taken."""
    if port is None:
        return None
    if find_spec("grpc") is None:
        raise ConfigError(
            "--grpc-port needs grpcio, which is not installed", hint="pip install 'fc-pipeline[grpc]', or leave it out"
        )
    listening_socket(host, port).close()
    key = Chain.public_key.hex()

    def started(bound: int) -> None:
        say(f"sample hub, gRPC: http://{host}:{bound} (FC_HUB_GRPC), its validator: {key} (FC_VALIDATORS)")

    return GrpcAt(host, port, started)


def _growth(
    log: EventLog, live_rate: float | None, *, endless: bool, record: Path | None, seed: int, now_unix: float
) -> Growth | None:
    if endless:
        rate = DEFAULT_LIVE_RATE if live_rate is None else live_rate
        return Endless(log, events_per_second=rate, start_unix=now_unix, seed=seed, record=record)
    if live_rate is not None:
        return Reveal(log, events_per_second=live_rate, start_unix=now_unix)
    return None


def _generated(seed: int, events: int, fids: int, now_unix: float) -> EventLog:
    start_unix = int(now_unix - events / GENERATED_EVENTS_PER_SECOND) - 1
    lines = generate(
        seed,
        fids=fids,
        events=events,
        start_unix=start_unix,
        events_per_second=GENERATED_EVENTS_PER_SECOND,
        gasless_keys=True,
        signed=True,
    )
    return log_from_lines(lines, source="the generated log")


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
