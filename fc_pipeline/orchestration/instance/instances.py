"""The instances on a Postgres: each `up`, and each command that runs assets, has a name and holds a lock.

Dagster knows one daemon per storage. Where several `up`s share a Postgres, on one machine or several, one of them
leads: its daemon ticks and launches runs. The others show the UI, and one takes over when the leader is gone. Each run
carries the name of its launcher, so that only the runs of a dead one are ended.
"""

import secrets
import socket
import zlib
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.store.advisory_locks import INSTANCE, LEADER
from fc_pipeline.store.session import connect
from fc_pipeline.store.session_lock import (
    MAX_NAME_BYTES,
    UNREACHABLE,
    SessionLock,
    holders,
    kept,
    objects_locked,
    session_name,
)

__all__ = [
    "DAGSTER_DATABASE",
    "INSTANCE_TAG",
    "INSTANCE_VARIABLE",
    "leader",
    "leader_lock",
    "living_instances",
    "living_names",
    "machine_of",
    "name_of",
    "new_instance",
    "number_of",
    "place_of",
    "present",
]

DAGSTER_DATABASE: Final = "dagster"
"""Dagster's own storage, on the replica's server."""
INSTANCE_TAG: Final = "fc/instance"
"""The tag with the name of a run's launcher: `HOST:FOLDER NUMBER`."""
INSTANCE_VARIABLE: Final = "FC_PIPELINE_INSTANCE"
"""The environment variable in which an `up` gives its name to the processes that it starts."""

_SESSION_PREFIX: Final = "fc_pipeline "


def new_instance(data_dir: Path) -> str:
    """The name of a process that launches runs: its host and folder, and a unique number."""
    return f"{socket.gethostname()}:{data_dir.absolute()} {secrets.token_hex(4)}"


def place_of(instance: str) -> str:
    """Host and folder of an instance: the same for all instances started there in turn."""
    return instance.rpartition(" ")[0]


def machine_of(instance: str) -> str:
    """The host alone."""
    return instance.partition(":")[0]


def name_of(instance: str) -> str:
    """The name of its session in pg_stat_activity, where names are short: the end of its folder is kept."""
    number = instance.rpartition(" ")[2]
    place = session_name(place_of(instance)[-MAX_NAME_BYTES:])
    room = MAX_NAME_BYTES - len(f"{_SESSION_PREFIX} {number}")
    return f"{_SESSION_PREFIX}{place if len(place) <= room else '...' + place[3 - room :]} {number}"


def number_of(instance: str) -> int:
    """The key of its lock."""
    return zlib.crc32(instance.encode()) >> 1  # 31 bits: lock keys are signed


@contextmanager
def present(settings: Settings, instance: str) -> Generator[bool]:
    """Be listed as living on this Postgres while the block runs and this process lives; says if no other has the name.

    Raises ServiceError where Postgres does not answer.
    """
    lock = SessionLock(settings.libpq_url(DAGSTER_DATABASE), INSTANCE, number_of(instance), name=name_of(instance))
    with ExitStack() as stack:
        try:
            is_only = stack.enter_context(kept(lock))
        except UNREACHABLE as error:
            raise ServiceError(
                f"Postgres does not answer: {str(error).strip()}", hint="is FC_POSTGRES_URL right and the server up?"
            ) from error
        yield is_only


def living_instances(settings: Settings) -> set[int]:
    """The numbers of the living instances."""
    with closing(connect(settings.libpq_url(DAGSTER_DATABASE))) as connection, connection.cursor() as cursor:
        return objects_locked(cursor, INSTANCE)


def living_names(settings: Settings) -> set[str]:
    """Their names, as `name_of` gives them; empty for instances of another role."""
    with closing(connect(settings.libpq_url(DAGSTER_DATABASE))) as connection, connection.cursor() as cursor:
        return holders(cursor, INSTANCE)


def leader_lock(settings: Settings, instance: str) -> SessionLock:
    """The lock that the daemon of the leading `up` holds."""
    return SessionLock(settings.libpq_url(DAGSTER_DATABASE), LEADER, name=name_of(instance))


def leader(settings: Settings) -> str | None:
    """The `name_of` the leading instance; None if there is none; empty if its session is not visible."""
    with closing(connect(settings.libpq_url(DAGSTER_DATABASE))) as connection, connection.cursor() as cursor:
        return next(iter(holders(cursor, LEADER)), None)
