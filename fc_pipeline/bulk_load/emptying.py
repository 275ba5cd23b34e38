"""An empty database made ready to be loaded, and back: what must be empty, and what is taken away from its tables."""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.bulk_load.structure import drop_structures, triggers
from fc_pipeline.errors import ConfigError
from fc_pipeline.store.bookkeeping import COVERAGE, QUARANTINE, SHARDS, SNAPSHOT_ROUNDS, SNAPSHOTS
from fc_pipeline.store.digest_tables import DIGEST_TABLES, FID_DIGESTS
from fc_pipeline.tables.counts import COUNT_TABLES
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import ALL_TABLES, DERIVED_TABLES, LEAF_TABLES, LISTED_TABLES

__all__ = ["COPIED_TABLES", "COUNTED_SOURCES", "FILLED_TABLES", "LOADED_TABLES", "empty", "prepare", "require_empty"]

COPIED_TABLES: Final = frozenset({*LEAF_TABLES, OTHER_LEAVES.name})
"""Tables into which rows are copied without an index, each once. Of others several shards may bring the same row."""

LOADED_TABLES: Final[tuple[sa.Table, ...]] = (
    *(LISTED_TABLES[name].sql for name in LEAF_TABLES),
    OTHER_LEAVES.sql,
    FID_DIGESTS,
    SNAPSHOTS,
)
"""The tables that a load copies rows into without any index."""

FILLED_TABLES: Final[tuple[sa.Table, ...]] = (
    *(one.table.sql for one in DERIVED_TABLES),
    *(one.sql for one in COUNT_TABLES),
)
"""The tables that are filled from these."""

COUNTED_SOURCES: Final = tuple({one.source.name: one.source.sql for c in COUNT_TABLES for one in c.counts}.values())
"""Tables whose triggers count."""

_EMPTIED: Final = (
    *(one.sql for one in ALL_TABLES.values()),
    LINK_COMPACTIONS.sql,
    OTHER_LEAVES.sql,
    *(one.sql for one in COUNT_TABLES),
    *DIGEST_TABLES,
    SNAPSHOTS,
    SNAPSHOT_ROUNDS,
    QUARANTINE,
    SHARDS,
)
_MUST_BE_EMPTY: Final = (COVERAGE, SHARDS, SNAPSHOTS, *(one.sql for one in LISTED_TABLES.values()))


def _qualified(table: sa.Table) -> str:
    return f"{table.schema or 'public'}.{table.name}"


def require_empty(connection: sa.Connection) -> None:
    """Raise ConfigError if the database has anything of the network already."""
    for table in _MUST_BE_EMPTY:
        if connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {_qualified(table)})")):
            raise ConfigError(
                f"the database is not empty: {_qualified(table)} has rows",
                hint="a bulk load fills a new database: name one in FC_POSTGRES_URL (or a new folder for the embedded "
                "one) and load before `up` or `sync` have written to it",
            )


def prepare(connection: sa.Connection) -> None:
    """Take away what makes loading slow."""
    drop_structures(connection, (*LOADED_TABLES, *FILLED_TABLES))
    triggers(connection, COUNTED_SOURCES, enabled=False)


def empty(connection: sa.Connection) -> None:
    """Empty every table that a load has written, to load anew."""
    connection.exec_driver_sql(f"TRUNCATE {', '.join(map(_qualified, _EMPTIED))}")
