"""Where Dagster's hourly partitions begin: the day of the first data, kept in Postgres for all processes.

It moves back when earlier data come and never forward, so a partition that was there once stays.
"""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.hours import FIRST_HOUR, Hour
from fc_pipeline.store.bookkeeping import PARTITION_START

__all__ = ["STORED_START", "day_of", "move_back", "stored_start"]

_DAY_SECONDS = 86_400
STORED_START: Final = "SELECT extract(epoch FROM start_at)::bigint FROM pipeline.partition_start"
"""Unix seconds; no row before anything is known."""


def day_of(hour: Hour) -> Hour:
    """The first hour of an hour's day (UTC), and no earlier than Farcaster's clock begins."""
    return max(FIRST_HOUR, Hour(hour.start_unix // _DAY_SECONDS * _DAY_SECONDS))


def stored_start(connection: sa.Connection) -> Hour | None:
    """The first partition; None before anything is known."""
    found = connection.scalar(sa.text(STORED_START))
    return None if found is None else Hour.of(found)


def move_back(engine: sa.Engine, first: Hour) -> Hour:
    """Have partitions begin with the day of an hour, or where they begin if that is earlier; gives where."""
    with engine.connect() as connection:
        stored = stored_start(connection)
    if stored is not None and stored <= day_of(first):  # as nearly always
        return stored
    insert = pg.insert(PARTITION_START).values(start_at=day_of(first).start)
    column = PARTITION_START.c.start_at
    with engine.begin() as connection:
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[PARTITION_START.c.is_only],
                set_={"start_at": insert.excluded.start_at, "moved_at": sa.func.now()},
                where=insert.excluded.start_at < column,
            )
        )
        return stored_start(connection) or day_of(first)
