"""Advisory locks of Postgres: which there are, the statements that take them, and who holds them.

One that is held by a session is gone with it, however its process ends.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

__all__ = [
    "COMPLETING_TARGETS",
    "DERIVING",
    "HEALING_GAPS",
    "INSTANCE",
    "LEADER",
    "LISTING_FIDS",
    "LOADING",
    "MAKING_INDEXES",
    "MIGRATION",
    "SUCCESSOR",
    "TARGET_SET",
    "THREADS_AND_COUNTS",
    "AdvisoryLock",
    "attempted",
    "feed",
    "fids",
    "gaps_of",
    "held",
    "is_held",
    "locks_held",
    "round_over",
    "shard",
    "shared",
]


@dataclass(frozen=True, slots=True)
class AdvisoryLock:
    """A lock of two numbers of 32 bits, its kind and an object, or of one number of 64 bits where `thing` is None.

    `thing` may be the placeholder of a statement's parameter.
    """

    kind: int
    thing: int | str | None = None

    def until_commit(self, *, shared: bool = False) -> str:
        """The statement that waits for the lock and keeps it until the transaction ends."""
        return f"SELECT pg_advisory_xact_lock{'_shared' if shared else ''}({self._key})"

    def until_unlock(self, *, shared: bool = False) -> str:
        """The statement that waits for the lock and keeps it until `unlock`, or the session's end."""
        return f"SELECT pg_advisory_lock{'_shared' if shared else ''}({self._key})"

    def attempt(self) -> str:
        """The statement that takes the lock as `until_unlock` if it is free; returns whether it did."""
        return f"SELECT pg_try_advisory_lock({self._key})"

    def unlock(self, *, shared: bool = False) -> str:
        """The statement that releases it."""
        return f"SELECT pg_advisory_unlock{'_shared' if shared else ''}({self._key})"

    @property
    def _key(self) -> str:
        return str(self.kind) if self.thing is None else f"{self.kind}, {self.thing}"


# The kinds keep them apart from one another and from other users' of the database.
MIGRATION: Final = AdvisoryLock(7234163)
"""Exclusive for migrations; shared by every writer until its commit."""
SUCCESSOR: Final = AdvisoryLock(0x66637375)  # "fcsu"
"""Shared by the runs that are ready to follow the feed, and wait for the lease of the one that does."""
INSTANCE: Final = 0x6663696E  # "fcin"
"""The kind of the locks of living instances."""
LEADER: Final = 0x66636C65  # "fcle"
"""The kind of the one that the leading instance's daemon holds."""
DERIVING: Final = 0x6664  # "fd"
"""The kind of those of derived tables: exclusive for folds that make rows which another shard's may look for."""

_SHARDS: Final = 0x6663  # "fc"
_FEEDS: Final = 0x6666  # "ff"
_FIDS: Final = 0x6669  # "fi"
_GAPS: Final = 0x6667  # "fg"
_ROUNDS: Final = 0x6672  # "fr"
_TARGETS: Final = 0x6674  # "ft"
_SERVING: Final = 0x6676  # "fv"

HEALING_GAPS: Final = AdvisoryLock(_GAPS, 0)
"""Among those of gaps by shard, that of the one run which heals."""
LISTING_FIDS: Final = AdvisoryLock(_ROUNDS, 256)
"""Among those of buckets, that of whoever lists all users for a round."""
TARGET_SET: Final = AdvisoryLock(_TARGETS, 0)
"""Exclusive for changes of the target set; shared by look-ups of targets."""
THREADS_AND_COUNTS: Final = AdvisoryLock(_SERVING, 0)
"""Held until commit by whoever changes threads or counts, from the end of its work on: hot rows are waited for once."""
MAKING_INDEXES: Final = AdvisoryLock(_SERVING, 1)
"""Of the one session that makes indexes beside everything else."""
LOADING: Final = AdvisoryLock(_SERVING, 2)
"""Of the one process that loads tables in bulk, or hands out the parts."""
COMPLETING_TARGETS: Final = AdvisoryLock(_TARGETS, 1)
"""Shared by runs that complete the histories of new targets."""


def shard(number: int | str) -> AdvisoryLock:
    """Held by the transaction that writes rows of a shard; shared by those that hold the users they write."""
    return AdvisoryLock(_SHARDS, number)


def feed(number: int | str) -> AdvisoryLock:
    """Held by the transaction that folds a few users' events of a shard: its events are folded one after another."""
    return AdvisoryLock(_FEEDS, number)


def fids(group: int | str) -> AdvisoryLock:
    """Of a group of users (store.held_fids): exclusive for their snapshots, shared by folds of their events."""
    return AdvisoryLock(_FIDS, group)


def round_over(bucket: int | str) -> AdvisoryLock:
    """Held by a worker of a shared round while its run is over the bucket."""
    return AdvisoryLock(_ROUNDS, bucket)


def gaps_of(number: int | str) -> AdvisoryLock:
    """Held by the transaction that records or settles gaps of a shard."""
    return AdvisoryLock(_GAPS, number)


def locks_held(kind: int | str, *, columns: str = "1", joined: str = "", bits: int = 32) -> str:
    """The query of the held locks of a kind in this database; rows of `pg_locks`.

    With 64 `bits`, of the one lock with that number.
    """
    key = f"classid::bigint = {kind} AND objsubid = 2"
    if bits == 64:  # in halves
        key = f"(classid::bigint << 32 | objid::bigint) = {kind} AND objsubid = 1"
    return (
        f"SELECT {columns} FROM pg_locks JOIN pg_database ON pg_database.oid = database {joined} "
        f"WHERE pg_database.datname = current_database() AND locktype = 'advisory' AND granted AND {key}"
    )


def held(lock: AdvisoryLock) -> str:
    """The query whether a lock is held; does not take it."""
    if lock.thing is None:
        return f"SELECT EXISTS ({locks_held(lock.kind, bits=64)})"
    return f"SELECT EXISTS ({locks_held(lock.kind)} AND objid::bigint = {lock.thing})"


def is_held(connection: sa.Connection, lock: AdvisoryLock) -> bool:
    """Whether any session holds a lock."""
    return bool(connection.scalar(sa.text(held(lock))))


@contextmanager
def shared(engine: sa.Engine, lock: AdvisoryLock) -> Generator[None]:
    """Hold a lock shared while the block runs and this process lives."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(lock.until_unlock(shared=True)))
        try:
            yield
        finally:
            connection.execute(sa.text(lock.unlock(shared=True)))


@contextmanager
def attempted(engine: sa.Engine, lock: AdvisoryLock) -> Generator[bool]:
    """Hold a lock, if it is free, while the block runs and this process lives; gives whether it is held."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        taken = bool(connection.scalar(sa.text(lock.attempt())))
        try:
            yield taken
        finally:
            if taken:
                connection.execute(sa.text(lock.unlock()))
