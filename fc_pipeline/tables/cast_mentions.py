"""`cast_mentions`: who is mentioned in which cast, one row per user: what her notifications are found by."""

from typing import Final

from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.message import NETWORK_TIME

__all__ = ["CAST_MENTIONS", "MENTIONS"]

CAST_MENTIONS: Final = DataTable(
    name="cast_mentions",
    description="Users mentioned in live casts, each once per cast; gone with the cast.",
    sql_example=(
        "SELECT mentioned_fid, count(*) AS casts FROM cast_mentions\n"
        "WHERE network_time > now() - interval '1 day' GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
    key=("hash", "mentioned_fid"),
    columns=(
        Column("hash", ColumnType.BYTEA, "The cast", nullable=False),
        Column("mentioned_fid", ColumnType.BIGINT, "Who is mentioned", nullable=False),
        Column("fid", ColumnType.BIGINT, "Author of the cast"),
        Column("network_time", ColumnType.TIMESTAMP, "The cast's block_time, or its timestamp where that is not known"),
    ),
    indexes=(
        Index(("mentioned_fid", "network_time"), serves="mentions of a user: `api.notifications`", is_made_later=True),
    ),
    is_large=True,
    # Rows are kept with their cast.
    concerns=(),
    comparison=Comparison.DERIVED,
)

_OF_CASTS: Final = f"""
  SELECT c.hash, m.mentioned_fid, c.fid, {NETWORK_TIME} AS network_time, c.version, c.deleted_at
  FROM {{casts}}
  CROSS JOIN LATERAL (SELECT DISTINCT unnest(c.mentions) AS mentioned_fid) AS m WHERE m.mentioned_fid IS NOT NULL
"""

MENTIONS: Final = DerivedTable(
    table=CAST_MENTIONS,
    scope=("hash",),
    # Most casts mention nobody. What is gone may have mentioned somebody.
    touched={
        CASTS.name: "SELECT r.hash FROM {rows} AS r WHERE r.deleted_at IS NOT NULL OR cardinality(r.mentions) > 0"
    },
    rows=_OF_CASTS.replace(
        "{casts}",
        "{scope} AS s CROSS JOIN LATERAL "
        "(SELECT * FROM public.casts AS r WHERE r.hash = s.hash AND r.deleted_at IS NULL OFFSET 0) AS c",
    ),
    all_rows=_OF_CASTS.replace(
        "{casts}",
        "(SELECT * FROM public.casts AS r WHERE r.deleted_at IS NULL AND cardinality(r.mentions) > 0) AS c",
    ),
    of_fids=(
        "SELECT c.hash FROM {fids} AS p CROSS JOIN LATERAL (SELECT hash FROM public.casts AS r WHERE r.fid = p.fid "
        "AND r.deleted_at IS NULL AND cardinality(r.mentions) > 0 OFFSET 0) AS c"
    ),
    lost={CASTS.name: "SELECT r.hash FROM {rows} AS r WHERE r.deleted_at IS NOT NULL"},
    kept_by=(
        "SELECT FROM public.casts AS c WHERE c.hash = t.hash AND c.deleted_at IS NULL "
        "AND t.mentioned_fid = ANY (c.mentions)"
    ),
)
