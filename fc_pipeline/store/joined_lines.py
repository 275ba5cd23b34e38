"""Joins the ledger's lines of hours that are over: one of a shard and hour, where all were written to the same tables.

A follower leaves a line of each of its runs, some twelve an hour. What is read of them later adds up, or is of the
last: what is not told any more is which run folded which part of an hour, and the hash of a block within it.
"""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store import advisory_locks
from fc_pipeline.store.ledger import TOTALS
from fc_pipeline.store.schema import hold_schema

__all__ = ["SETTLED_SECONDS", "join_lines"]

SETTLED_SECONDS: Final = 86_400.0
"""Lines that were written to since then are left alone: who asks what was folded lately asks about less."""

_SUMS: Final = (
    "events",
    "confirmed_events",
    "rows_written",
    *TOTALS,
)
_KNOWN: Final = ", ".join(_SUMS)
_OF_THE_LAST: Final = ("run_id", "last_block_at", "last_block_hash")

_DAYS: Final = sa.text(
    "SELECT DISTINCT left(partition, 10) AS day, shard FROM (SELECT shard, partition FROM pipeline.coverage "
    "WHERE committed_at < now() - make_interval(secs => :settled) GROUP BY 1, 2 HAVING count(*) > 1) AS several "
    "ORDER BY 1, 2"
)
# A line of which some total is unknown does not become part of one that has it, nor one without hash of one with it.
_JOIN: Final = sa.text(
    "WITH lines AS (SELECT shard, from_height, lag(to_height) OVER line IS NOT DISTINCT FROM from_height - 1 "
    "AND lag(partition) OVER line = partition AND lag(tables) OVER line = tables "
    f"AND lag(num_nulls({_KNOWN})) OVER line = num_nulls({_KNOWN}) "
    "AND lag(last_block_hash IS NULL) OVER line = (last_block_hash IS NULL) AS continues "
    "FROM pipeline.coverage WHERE shard = :shard AND partition BETWEEN :first AND :last "
    "AND committed_at < now() - make_interval(secs => :settled) WINDOW line AS (ORDER BY from_height)), "
    "numbered AS (SELECT shard, from_height, count(*) FILTER (WHERE continues IS NOT TRUE) "
    "OVER (ORDER BY from_height) AS number FROM lines), "
    "several AS (SELECT number FROM numbered GROUP BY number HAVING count(*) > 1), "
    "gone AS (DELETE FROM pipeline.coverage AS c USING numbered AS n JOIN several USING (number) "
    "WHERE c.shard = n.shard AND c.from_height = n.from_height RETURNING n.number, c.*), "
    "come AS (INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, committed_at, "
    f"{', '.join((*_OF_THE_LAST, *_SUMS))}) SELECT shard, min(from_height), max(to_height), tables, partition, "
    "max(committed_at), "
    f"{', '.join(f'(array_agg({name} ORDER BY from_height DESC))[1]' for name in _OF_THE_LAST)}, "
    f"{', '.join(f'sum({name})' for name in _SUMS)} FROM gone GROUP BY number, shard, tables, partition RETURNING 1) "
    "SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM come)"
)
_HOLD_SHARD: Final = sa.text(advisory_locks.shard(":shard").until_commit())


def join_lines(
    engine: sa.Engine, *, settled_seconds: float = SETTLED_SECONDS, should_stop: Callable[[], bool] = lambda: False
) -> int:
    """Join what was not written to for so long; returns how many lines fewer there are.

    A transaction per shard and day, which holds the shard as a fold does. May be cut short, and be at work twice.
    Raises ConfigError if a newer release has migrated the database.
    """
    with engine.connect() as connection:
        days = connection.execute(_DAYS, {"settled": settled_seconds}).all()
    saved = 0
    for day, shard in days:
        if should_stop():
            break
        values = {"shard": shard, "first": f"{day}-00:00", "last": f"{day}-23:00", "settled": settled_seconds}
        with engine.begin() as connection:
            hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
            connection.execute(_HOLD_SHARD, values)
            saved += connection.execute(_JOIN, values).scalar_one()
    return saved
