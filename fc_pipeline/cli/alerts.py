"""`fc-pipeline alerts`: watch and tell the addresses of FC_ALERT_URLS, and try them."""

import fcntl
import logging
import os
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Final

import typer

from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.logs import configure_logging
from fc_pipeline.services.children import MARK

if TYPE_CHECKING:
    from fc_pipeline.alerts.addresses import Address

__all__ = ["alerts"]

_log = logging.getLogger(__name__)

_NOT_ACCEPTED_EXIT_CODE: Final = 1
_STAND_BY_SECONDS: Final = 1.0

alerts = typer.Typer(help="Try and watch for what FC_ALERT_URLS is told.", no_args_is_help=True)


@alerts.command("test")
def send_test() -> None:
    """Send a message to each address of FC_ALERT_URLS, and print which accept it.

    Exit code 0: all do; 1: some do not.
    """
    from fc_pipeline.alerts.message import Message

    settings = Settings.load()
    addresses = _addresses(settings)
    told = "This address is told of what turns red or yellow, and when it is over."
    message = Message("fc_pipeline: a test", f"{told}\n\n{_place(settings)}", "test")
    refusals = 0
    for address in addresses:
        reason = address.send(message)
        refusals += reason is not None
        sys.stdout.write(f"{address.name}: {'accepted' if reason is None else f'not accepted: {reason}'}\n")
        sys.stdout.flush()
    if refusals:
        raise typer.Exit(_NOT_ACCEPTED_EXIT_CODE)


@alerts.command("watch")
def watch() -> None:
    """Watch, and tell the addresses of FC_ALERT_URLS; `up` starts this by itself where they are set.

    Where another watcher of the same data folder is at work, this one stands by.
    """
    from fc_pipeline.alerts.memory_file import MemoryFile  # with Dagster this takes seconds, which other commands save
    from fc_pipeline.alerts.watch import Watch
    from fc_pipeline.definitions import build_defs
    from fc_pipeline.orchestration.watching.sources import Watched

    settings = Settings.load()
    logging.getLogger("fc_pipeline").handlers.clear()  # a terminal's; this runs for months, and its lines need times
    configure_logging(settings.log_format)
    settings.make_data_dir()
    addresses = _addresses(settings)
    with _stop_event() as stop, _only_watcher(settings.data_dir, stop):
        if stop.is_set():
            return
        watched = Watched(dagster_home(), settings, build_defs())
        Watch(
            watched.sources(),
            addresses,
            MemoryFile(settings.data_dir),
            _place(settings),
            settings.alert_quiet_hours,
        ).run(stop, ends_with_up=MARK in os.environ)


def _addresses(settings: Settings) -> "list[Address]":
    from fc_pipeline.alerts.addresses import addresses_of  # Apprise takes a second, which other commands save

    addresses = addresses_of(settings.alert_urls)
    if not addresses:
        raise ConfigError("FC_ALERT_URLS is unset: there is nobody to tell", hint="docs/alerts.md has its forms")
    return addresses


def _place(settings: Settings) -> str:
    return f"{socket.gethostname()}:{settings.data_dir}"


@contextmanager
def _stop_event() -> Generator[Event]:
    """Set by the signals that ask to end; a look that is under way is finished."""
    stop = Event()

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _only_watcher(data_dir: Path, stop: Event) -> Generator[None]:
    """Wait until no other watcher of this data folder is at work, or `stop`: two would tell everything twice."""
    lock_file = data_dir / "run" / "alerts.lock"
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        is_said = False
        while not stop.is_set() and not _is_taken(descriptor):
            if not is_said:
                _log.info("standing_by: another watcher of this data folder is at work")
                is_said = True
            stop.wait(_STAND_BY_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
