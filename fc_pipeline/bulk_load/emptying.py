"""An empty database made ready to be loaded, and back: what must be empty, and what is taken away from its tables."""

from collections.abc import Sequence
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

__all__ = [
    "COPIED",
    "COPIED_TABLES",
    "COUNTED_SOURCES",
    "FILLED_TABLES",
    "FOLDED",
    "LOADED_TABLES",
    "READ",
    "empty",
    "prepare",
    "require_empty",
]

COPIED_TABLES: Final = frozenset({*LEAF_TABLES, OTHER_LEAVES.name})
"""Tables into which rows are copied without an index, each once. Of others several shards may bring the same row."""

COPIED: Final[tuple[sa.Table, ...]] = (*(LISTED_TABLES[name].sql for name in LEAF_TABLES), OTHER_LEAVES.sql)
"""The same as they are declared."""

LOADED_TABLES: Final[tuple[sa.Table, ...]] = (*COPIED, FID_DIGESTS, SNAPSHOTS)
"""The tables that a bootstrap copies rows into without any index."""

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
FOLDED: Final = (COVERAGE, *(one.sql for one in LISTED_TABLES.values()))
"""What has rows as soon as anything was folded."""
READ: Final = (*FOLDED, SHARDS, SNAPSHOTS)
"""What has rows as soon as a hub was read."""


def _qualified(table: sa.Table) -> str:
    return f"{table.schema or 'public'}.{table.name}"


def require_empty(connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
    """Raise ConfigError if one of these tables has rows already."""
    for table in tables:
        if connection.scalar(sa.text(f"SELECT EXISTS (SELECT FROM {_qualified(table)})")):
            raise ConfigError(
                f"the database is not empty: {_qualified(table)} has rows",
                hint="a bulk load fills a new database: name one in FC_POSTGRES_URL (or a new folder for the embedded "
                "one) and load before `up` or `sync` have written to it",
            )


def prepare(connection: sa.Connection, loaded: Sequence[sa.Table]) -> None:
    """Take away what makes loading these tables, and filling what follows from them, slow."""
    drop_structures(connection, (*loaded, *FILLED_TABLES))
    triggers(connection, COUNTED_SOURCES, enabled=False)


def empty(connection: sa.Connection) -> None:
    """Empty every table that a load has written, to load anew."""
    connection.exec_driver_sql(f"TRUNCATE {', '.join(map(_qualified, _EMPTIED))}")
