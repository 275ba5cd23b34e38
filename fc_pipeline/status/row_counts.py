"""How many live rows a table has: counted where that is cheap, estimated where it is not."""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.partitions import STORING
from fc_pipeline.tables.columns import DataTable

__all__ = ["live_rows"]

COUNTED_BYTES: Final = 16 << 20
"""Up to this size a table is counted: that takes milliseconds, and a table just made has no statistics yet."""
SAMPLED_PAGES: Final = 1000
"""How much is read of a larger one that Postgres has not analysed yet."""

_STATISTICS: Final = sa.text(
    "SELECT sum(c.reltuples * s.null_frac) AS live_rows, "
    "bool_and(pg_relation_size(c.oid) = 0 OR c.reltuples > 0 AND s.null_frac IS NOT NULL) AS is_analysed, "
    "sum(pg_relation_size(c.oid)) AS bytes, "
    "sum(pg_relation_size(c.oid)) / current_setting('block_size')::bigint AS pages "
    "FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "LEFT JOIN pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = 'deleted_at' "
    f"WHERE c.oid IN ({STORING})"
)
"""`deleted_at` is null in live rows, so Postgres' share of nulls is that of live rows."""


def live_rows(connection: sa.Connection, table: DataTable) -> int:
    """Rows of which `deleted_at` is null; an estimate where the table is large. 0 if there is no such table."""
    found = connection.execute(_STATISTICS, {"name": table.qualified}).one()
    if found.bytes is None:
        return 0
    if found.bytes > COUNTED_BYTES and found.is_analysed and found.live_rows is not None:
        return round(found.live_rows)
    share = 1.0 if found.bytes <= COUNTED_BYTES else min(1.0, SAMPLED_PAGES / float(found.pages))
    rows = table.sql if share == 1.0 else sa.tablesample(table.sql, sa.func.system(share * 100))
    query = sa.select(sa.func.count()).select_from(rows).where(rows.c.deleted_at.is_(None))
    return round(connection.execute(query).scalar_one() / share)
