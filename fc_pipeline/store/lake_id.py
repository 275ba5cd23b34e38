"""The line of `pipeline.lake`: which lake the database goes with."""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.store import coverage
from fc_pipeline.store.bookkeeping import LAKE
from fc_pipeline.store.query import query_of

__all__ = ["DatabaseLake", "has_folded_from_log", "hold", "known", "record"]

_LOCK: Final = sa.text("LOCK TABLE pipeline.lake IN SHARE ROW EXCLUSIVE MODE")


@dataclass(frozen=True, slots=True)
class DatabaseLake:
    """The id of the database's lake, and where that lay when it was adopted."""

    lake_id: str
    place: str


def known(connection: sa.Connection) -> DatabaseLake | None:
    """The database's lake; None before the first start with one."""
    row = connection.execute(sa.select(LAKE)).one_or_none()
    return DatabaseLake(row.lake_id, row.place) if row else None


def hold(connection: sa.Connection) -> None:
    """Lock the record of the lake until the end of the transaction."""
    connection.execute(_LOCK)


def record(connection: sa.Connection, lake: DatabaseLake) -> None:
    """Make this the database's lake from now on."""
    insert = pg.insert(LAKE).values(lake_id=lake.lake_id, place=lake.place)
    changed = {
        "lake_id": insert.excluded.lake_id,
        "place": insert.excluded.place,
        "adopted_at": sa.func.now(),
    }
    connection.execute(insert.on_conflict_do_update(index_elements=[LAKE.c.is_only], set_=changed))


def has_folded_from_log(connection: sa.Connection) -> bool:
    """Whether the ledger covers anything, which a lake must have the events of."""
    return coverage.is_anything_folded(query_of(connection))
