"""`fc-pipeline up`: everything from one command, until Ctrl-C."""

import fcntl
import logging
import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from fc_pipeline.causes import cause_of
from fc_pipeline.cli.lead import Lead, refuse_to_lead_alone
from fc_pipeline.cli.panel import print_panel
from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.orchestration.servers.dagster import END_SECONDS, PREFERRED_UI_PORT, DagsterProcesses
from fc_pipeline.services import close_services_for_process, embedded_servers, with_urls
from fc_pipeline.services.children import KILL_SECONDS, end_marked
from fc_pipeline.services.companion import Companion
from fc_pipeline.services.lifetime import EmbeddedServer
from fc_pipeline.services.log_files import keep_small
from fc_pipeline.services.ports import free_port
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.private_dirs import remove_stale_private_dirs
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.services.restarts import Restarts
from fc_pipeline.services.sample_hub import SampleHubServer
from fc_pipeline.services.up_state import UpRecord, read_up_state

__all__ = ["longest_stop_seconds", "up"]

STOP_SECONDS: Final = 25.0
"""How long Dagster's processes may take to end after SIGTERM: a run commits or rolls back its micro-batch."""
OTHER_STEPS_SECONDS: Final = 20.0
"""Of stopping: a step of a start that must end first, and what closes within moments."""
WATCH_SECONDS: Final = 1.0
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = logging.getLogger(__name__)


class _StopRequested(BaseException):
    """Ctrl-C, or a signal that asks to end. Not an Exception, so that no handler swallows it."""


def up(
    port: Annotated[
        int | None, typer.Option(help=f"Port of the Dagster UI (default {PREFERRED_UI_PORT}, or a free one).", min=1)
    ] = None,
) -> None:
    """Start Postgres, Redis, the sample hub (where none is configured) and Dagster; stop them all on Ctrl-C."""
    settings = Settings.load()
    settings.make_data_dir()
    _check_alert_addresses(settings)
    console = Console()
    lock = _only_one(settings.data_dir)
    if lock is None:
        _print_locations(console, settings.data_dir)
        return
    # Redis is optional, and has no wheel for every Python.
    servers = embedded_servers(settings, need_redis=EmbeddedRedis.can_run())
    remove_stale_private_dirs()
    try:
        with _stop_signals() as stop_requested:
            _run(console, settings, servers, port, stop_requested)
    except (_StopRequested, RuntimeError) as error:
        # Python wraps what is raised while a class is being made, as within an import.
        if not isinstance(error, _StopRequested) and not isinstance(error.__cause__, _StopRequested):
            raise
        console.print("stopped; the data is in", str(settings.data_dir), highlight=False, markup=False)
    finally:
        os.close(lock)


def longest_stop_seconds() -> float:
    """How long `up` takes to end at most: every step waits as long as it may."""
    servers = (EmbeddedPostgres, EmbeddedRedis, SampleHubServer)
    patience = sum(seconds for server in servers for _, seconds in server.stop_signals)
    return END_SECONDS + STOP_SECONDS + KILL_SECONDS + patience + OTHER_STEPS_SECONDS


def _only_one(data_dir: Path) -> int | None:
    """The lock of the one `up` of this data folder, or None where another holds it."""
    lock_file = data_dir / "run" / "up.lock"
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _print_locations(console: Console, data_dir: Path) -> None:
    running = read_up_state(data_dir)
    if running is None or not running.is_alive():
        console.print("fc-pipeline is already starting here, by another `up`")
    else:
        console.print(f"fc-pipeline is already running (pid {running.pid}): {running.ui}", highlight=False)


@contextmanager
def _stop_signals() -> Generator[Event]:
    """Turn the signals that ask to end into _StopRequested, once: a second one must not cut the stopping short.

    The event that is given is set as well: an exception that is raised within a callback or a finalizer is lost.
    """
    requested = Event()

    def request_stop(number: int, frame: FrameType | None) -> None:
        _ignore_stop_signals()
        requested.set()
        raise _StopRequested

    before: dict[signal.Signals, Any] = {}
    for number in _STOP_SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
            continue  # started by nohup
        before[number] = signal.signal(number, request_stop)
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_stop_signals() -> None:
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _run(
    console: Console, settings: Settings, servers: list[EmbeddedServer], port: int | None, stop_requested: Event
) -> None:
    record: UpRecord | None = None
    dagster: DagsterProcesses | None = None
    metrics_port = _metrics_port(settings)
    try:
        if end_marked(settings.data_dir, patience_seconds=STOP_SECONDS):
            _log.warning("leftovers_ended: an earlier `up`, which was killed, had left processes running")
        with console.status("starting …") as status:

            def on_step(step: str) -> None:
                _end_if(stop_requested)
                status.update(f"starting {step} …")

            for server in servers:
                on_step(server.name.replace("_", " "))
                server.acquire()
            _check_reach(with_urls(settings, servers))
            refuse_to_lead_alone(with_urls(settings, servers))
            dagster = DagsterProcesses(dagster_home(), with_urls(settings, servers), ui_port=port)
            dagster.start(on_step)
        record = UpRecord(settings.data_dir, dagster.ui_url)
        record.note(_pids(servers, dagster, []))
        companions = _companions(settings, metrics_port)
        print_panel(
            console,
            with_urls(settings, servers),
            {server.name for server in servers},
            dagster.ui_url,
            port,
            metrics_port=metrics_port,
        )
        restarts = Restarts()
        lead = Lead(console, dagster)
        while True:
            lead.announce()
            _end_if(stop_requested)
            time.sleep(WATCH_SECONDS)
            _revive_servers(servers, restarts)
            dagster.revive()
            for companion in companions:
                companion.revive()
            record.note(_pids(servers, dagster, companions))
            keep_small(settings.data_dir / "logs")
    except Exception as error:
        if record is not None and not isinstance(error.__cause__, _StopRequested):
            record.fail(_in_short(error))
        raise
    finally:
        _stop_all(console, settings, servers, dagster, record)


def _pids(
    servers: list[EmbeddedServer], dagster: DagsterProcesses, companions: list[Companion]
) -> dict[str, int | None]:
    """The process ids of all that this `up` runs, by name."""
    pids: dict[str, int | None] = {server.name: server.running_pid() for server in servers}
    pids |= {child.name: child.process.pid for child in dagster.children}
    return pids | {companion.name: companion.pid for companion in companions}


def _in_short(error: Exception) -> str:
    """Why `up` ends, without the lines of a log that the error may quote."""
    cause = cause_of(error)
    first_line = cause.message.partition("\n")[0].rstrip(":")
    return f"{first_line} ({cause.hint})" if cause.hint else first_line


def _check_alert_addresses(settings: Settings) -> None:
    """Raise ConfigError where FC_ALERT_URLS cannot be told of anything: nobody would notice."""
    from fc_pipeline.alerts.addresses import addresses_of  # only where they are set

    addresses_of(settings.alert_urls)


def _metrics_port(settings: Settings) -> int | None:
    """Where metrics are served, None where they are not. Raises ServiceError for an address of another machine."""
    if not settings.metrics_port:
        return None
    try:
        return free_port(settings.metrics_port, settings.metrics_host)
    except ServiceError as error:
        raise ServiceError(
            f"metrics cannot be served: {error.message}", hint="set FC_METRICS_HOST to an address of this machine"
        ) from error


def _companions(settings: Settings, metrics_port: int | None) -> list[Companion]:
    """What runs beside Dagster, started."""
    commands: dict[str, tuple[str, ...]] = {}
    if metrics_port is not None:
        commands["metrics"] = ("metrics", "--port", str(metrics_port))
    if settings.alert_urls:
        commands["alerts"] = ("alerts", "watch")
    data_dir, root = settings.data_dir.absolute(), dagster_home()
    companions = [Companion(name, arguments, data_dir, root) for name, arguments in commands.items()]
    for companion in companions:
        companion.start()
    return companions


def _end_if(stop_requested: Event) -> None:
    if stop_requested.is_set():
        raise _StopRequested


def _check_reach(settings: Settings) -> None:
    """Raise what every run would fail with, now rather than in a log later."""
    import redis  # neither is needed by other commands

    from fc_pipeline.feed.first_contact import place_partition_start_by_hub
    from fc_pipeline.replica import open_replica

    with open_replica(settings) as replica:
        replica.log.hours()
        _ = replica.hub_endpoints  # refuses headers that cannot be sent
        place_partition_start_by_hub(replica)
    if settings.redis_url is not None:
        try:
            with redis.Redis.from_url(settings.redis_url, socket_connect_timeout=5) as client:
                client.ping()
        except redis.RedisError as error:
            raise ServiceError(
                f"Redis does not answer: {type(error).__name__}", hint="is FC_REDIS_URL right and the server up?"
            ) from error


def _revive_servers(servers: list[EmbeddedServer], restarts: Restarts) -> None:
    """Restart what has ended; raises ServiceError, naming the log, for a server that ended too often."""
    for server in servers:
        if server.running_pid() is not None:
            continue
        name = server.name.replace("_", " ")
        if not restarts.may(name):
            raise ServiceError(f"the {name} ended:\n{server.last_log_lines()}", hint=f"see {server.log_file}")
        _log.warning("process_restarted name=%s log=%s: it had ended", server.name, server.log_file)
        server.acquire()


def _stop_all(
    console: Console,
    settings: Settings,
    servers: list[EmbeddedServer],
    dagster: DagsterProcesses | None,
    record: UpRecord | None,
) -> None:
    """Stop in reverse order: Dagster and its runs, then the servers that they use.

    Where `up` fails, its record stays until the watcher of alerts has had the time to tell why.
    """
    _ignore_stop_signals()
    if record is not None and not record.is_of_failure:
        record.remove()
    steps: list[tuple[str, Callable[[], object]]] = [
        ("runs", lambda: dagster.end_runs() if dagster is not None else None),
        ("Dagster", lambda: end_marked(settings.data_dir, patience_seconds=STOP_SECONDS)),
        ("record", lambda: record.remove() if record is not None else None),
        ("lead", lambda: dagster.leave() if dagster is not None else None),
        ("storage", close_services_for_process),
    ]
    steps += [(server.name.replace("_", " "), server.release) for server in reversed(servers)]
    failures: list[str] = []
    with console.status("stopping …") as status:
        for name, stop in steps:
            status.update(f"stopping {name} …")
            try:
                if stop() is False:
                    console.print(f"the {name} stays: another command uses it, and stops it at its end")
            except ServiceError as error:  # the others must be stopped, too
                failures.append(str(error))
    if failures:
        raise ServiceError("; ".join(failures))
