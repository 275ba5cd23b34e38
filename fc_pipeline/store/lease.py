"""Leases: one writer per shard and hour. Acquired and released here; checked inside each micro-batch's transaction.

A holder renews its leases at fixed intervals while its process runs, even if a micro-batch takes long. A process that
is paused or gone renews nothing, and its leases expire.

A run that is ready to follow the feed, and waits for the lease of the one that does, announces itself by an advisory
lock, which ends with its session.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.store import advisory_locks
from fc_pipeline.store.advisory_locks import SUCCESSOR
from fc_pipeline.store.bookkeeping import LEASES

__all__ = [
    "HEARTBEAT_TIMEOUT_SECONDS",
    "Holder",
    "as_successor",
    "holders",
    "is_held_by_another",
    "reacquire",
    "release",
    "renew",
    "runs_at_work",
    "successor_waits",
    "try_take",
]

HEARTBEAT_TIMEOUT_SECONDS = 60
"""A lease without a heartbeat for this long is free, even if its Postgres session seems alive."""

# A holder whose session is gone has died: whatever it was doing can no longer commit.
_FREE = f"""
    lease.holder = excluded.holder
    OR lease.heartbeat_at < now() - interval '{HEARTBEAT_TIMEOUT_SECONDS} seconds'
    OR NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = lease.backend_pid)
"""
_TAKE = sa.text(f"""
    INSERT INTO pipeline.leases AS lease (shard, partition, holder, backend_pid, planned_end_at)
    VALUES (:shard, :partition, :holder, :backend_pid, to_timestamp(:planned_end_unix))
    ON CONFLICT (shard, partition) DO UPDATE
    SET holder = excluded.holder, backend_pid = excluded.backend_pid, heartbeat_at = now(),
        planned_end_at = excluded.planned_end_at
    WHERE {_FREE}
    RETURNING holder
""")

_LIVING = (
    sa.text("EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend_pid)"),
    LEASES.c.heartbeat_at > sa.func.now() - sa.cast(f"{HEARTBEAT_TIMEOUT_SECONDS} seconds", pg.INTERVAL),
)
"""Of leases that are held: the session lives, and the heartbeat is fresh."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who writes an hour, and until when it means to (unix seconds; None: until it is done)."""

    run_id: str
    planned_end_unix: float | None


def try_take(
    engine: sa.Engine,
    *,
    shard: int,
    partition: str,
    holder: str,
    backend_pid: int,
    planned_end_unix: float | None = None,
) -> bool:
    """Acquire the lease on a shard's hour if no live run holds it; returns whether it is now `holder`'s.

    `holder` is a run id, a slash and an id of the attempt; `backend_pid` the Postgres session through which it will
    write.
    """
    values = {
        "shard": shard,
        "partition": partition,
        "holder": holder,
        "backend_pid": backend_pid,
        "planned_end_unix": planned_end_unix,
    }
    with engine.begin() as connection:
        return connection.execute(_TAKE, values).first() is not None


def reacquire(engine: sa.Engine, *, holder: str, backend_pid: int) -> set[tuple[int, str]]:
    """Reacquire in a new session the leases not taken since the old one was lost; returns shards and partitions."""
    mine = (
        sa.update(LEASES).where(LEASES.c.holder == holder).values(backend_pid=backend_pid, heartbeat_at=sa.func.now())
    )
    with engine.begin() as connection:
        return {(row.shard, row.partition) for row in connection.execute(mine.returning(LEASES))}


def renew(engine: sa.Engine, *, holder: str) -> None:
    """A heartbeat on every lease of this holder: those that another run has taken meanwhile are no longer its own.

    One that a micro-batch's transaction has locked is left to that, so that the others do not wait for it.
    """
    mine = sa.select(LEASES.c.shard, LEASES.c.partition).where(LEASES.c.holder == holder)
    free = mine.with_for_update(key_share=True, skip_locked=True).subquery()
    beat = (
        sa.update(LEASES)
        .values(heartbeat_at=sa.func.clock_timestamp())
        .where(LEASES.c.shard == free.c.shard, LEASES.c.partition == free.c.partition, LEASES.c.holder == holder)
    )
    with engine.begin() as connection:
        connection.execute(beat)


def release(engine: sa.Engine, *, holder: str) -> None:
    """Release every lease of this holder."""
    with engine.begin() as connection:
        connection.execute(sa.delete(LEASES).where(LEASES.c.holder == holder))


def runs_at_work(connection: sa.Connection) -> set[str]:
    """The ids of the runs that hold a lease on any hour through a session that lives."""
    alive = sa.text("EXISTS (SELECT FROM pg_stat_activity WHERE pid = backend_pid)")
    return {holder.partition("/")[0] for holder in connection.scalars(sa.select(LEASES.c.holder).where(alive))}


def holders(connection: sa.Connection, *, partition: str) -> dict[int, Holder]:
    """The live holders of the hour, per shard: their session exists and their heartbeat is fresh."""
    query = sa.select(LEASES.c.shard, LEASES.c.holder, LEASES.c.planned_end_at)
    rows = connection.execute(query.where(LEASES.c.partition == partition, *_LIVING))
    return {
        row.shard: Holder(row.holder.partition("/")[0], row.planned_end_at.timestamp() if row.planned_end_at else None)
        for row in rows
    }


def is_held_by_another(connection: sa.Connection, *, shard: int, partition: str, holder: str) -> bool:
    """Whether another live run may write a shard's hour."""
    this_hour = sa.and_(LEASES.c.shard == shard, LEASES.c.partition == partition)
    query = sa.select(LEASES.c.shard).where(this_hour, LEASES.c.holder != holder, *_LIVING)
    return connection.execute(query).first() is not None


def as_successor(engine: sa.Engine) -> AbstractContextManager[None]:
    """Announce a run that waits to follow the feed, while the block runs and this process lives."""
    return advisory_locks.shared(engine, SUCCESSOR)


def successor_waits(engine: sa.Engine) -> bool:
    """Whether a run is ready to follow the feed and waits for the lease."""
    with engine.connect() as connection:
        return advisory_locks.is_held(connection, SUCCESSOR)
