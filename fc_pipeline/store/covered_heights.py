"""What the ledger covers of each shard, as ranges: as few as there are holes, however many lines the ledger has.

Triggers keep them in the transaction that changes the ledger, so that no statement, ours or by hand, can forget it.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.heights import HeightRange
from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.store.query import Query
from fc_pipeline.tables.columns import METADATA

__all__ = ["COVERED_HEIGHTS", "CoveredSpan", "extents", "install", "ranges", "recount", "spans"]

COVERED_HEIGHTS = sa.Table(
    "covered_heights",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tables", pg.ARRAY(sa.Text), primary_key=True, comment="What these heights were written to"),
    sa.Column("heights", pg.INT8MULTIRANGE, nullable=False, comment="Of all lines of coverage with these tables"),
    schema=SCHEMA,
    comment="The ledger's heights as ranges; triggers keep them as the lines of coverage are.",
)

_RANGES: Final = "range_agg(int8range(from_height, to_height, '[]'))"

# A line that grew takes nothing away, and is one update here. Lines never overlap: what one gives up no other has.
_FUNCTIONS: Final = (
    """
CREATE OR REPLACE FUNCTION pipeline.note_covered(of_shard integer, of_tables text[], gone int8multirange,
  come int8multirange) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF NOT gone <@ come THEN
    UPDATE pipeline.covered_heights SET heights = heights - (gone - come)
      WHERE shard = of_shard AND tables = of_tables;
    DELETE FROM pipeline.covered_heights WHERE shard = of_shard AND tables = of_tables AND isempty(heights);
  END IF;
  IF NOT come <@ gone THEN
    INSERT INTO pipeline.covered_heights AS c VALUES (of_shard, of_tables, come - gone)
      ON CONFLICT (shard, tables) DO UPDATE SET heights = c.heights + excluded.heights;
  END IF;
END $$
""",
    f"""
CREATE OR REPLACE FUNCTION pipeline.note_covered_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM pipeline.note_covered(shard, tables, '{{}}', heights) FROM (
      SELECT shard, tables, {_RANGES} AS heights FROM after GROUP BY 1, 2 ORDER BY 1, 2) AS n;
  ELSIF TG_OP = 'DELETE' THEN
    PERFORM pipeline.note_covered(shard, tables, heights, '{{}}') FROM (
      SELECT shard, tables, {_RANGES} AS heights FROM before GROUP BY 1, 2 ORDER BY 1, 2) AS o;
  ELSIF TG_OP = 'UPDATE' THEN
    PERFORM pipeline.note_covered(shard, tables, coalesce(o.heights, '{{}}'), coalesce(n.heights, '{{}}')) FROM (
      SELECT shard, tables, {_RANGES} AS heights FROM before GROUP BY 1, 2) AS o
      FULL JOIN (SELECT shard, tables, {_RANGES} AS heights FROM after GROUP BY 1, 2) AS n USING (shard, tables);
  ELSE
    DELETE FROM pipeline.covered_heights;
  END IF;
  RETURN NULL;
END $$
""",
)
_TRIGGERS: Final = tuple(
    f"CREATE OR REPLACE TRIGGER note_covered_{operation.lower()} AFTER {operation} ON pipeline.coverage {transition}"
    "FOR EACH STATEMENT EXECUTE FUNCTION pipeline.note_covered_lines()"
    for operation, transition in (
        ("INSERT", "REFERENCING NEW TABLE AS after "),
        ("UPDATE", "REFERENCING OLD TABLE AS before NEW TABLE AS after "),
        ("DELETE", "REFERENCING OLD TABLE AS before "),
        ("TRUNCATE", ""),
    )
)
_RECOUNT: Final = (
    "LOCK TABLE pipeline.coverage IN SHARE MODE",
    "DELETE FROM pipeline.covered_heights",
    f"INSERT INTO pipeline.covered_heights SELECT shard, tables, {_RANGES} FROM pipeline.coverage GROUP BY 1, 2",
)

_SPANS: Final = sa.text(
    "SELECT array_to_string(c.tables, ','), lower(r), upper(r) - 1 FROM pipeline.covered_heights AS c "
    "CROSS JOIN LATERAL unnest(c.heights) AS r WHERE c.shard = CAST(:shard AS integer) ORDER BY 2"
)
# Of several sets of tables ranges may adjoin: joined, they are as few as there are holes.
_COVERED: Final = sa.text(
    "SELECT lower(h), upper(h) - 1 FROM (SELECT range_agg(r) AS heights FROM pipeline.covered_heights AS c "
    "CROSS JOIN LATERAL unnest(c.heights) AS r WHERE c.shard = CAST(:shard AS integer) "
    "AND c.tables @> string_to_array(:tables, ',')) AS joined CROSS JOIN LATERAL unnest(joined.heights) AS h ORDER BY 1"
)
_EXTENTS: Final = sa.text(
    "SELECT shard, min(lower(heights)), max(upper(heights)) - 1 FROM pipeline.covered_heights GROUP BY shard ORDER BY 1"
)


class CoveredSpan(NamedTuple):
    """Heights without a hole that were all written to the same tables, and to no other one."""

    heights: HeightRange
    tables: frozenset[str]


def install(connection: sa.Connection) -> None:
    """Create the triggers, in place of those that are there; the tables exist."""
    for statement in (*_FUNCTIONS, *_TRIGGERS):
        connection.exec_driver_sql(statement)


def recount(connection: sa.Connection) -> None:
    """Make all ranges anew from the ledger."""
    for statement in _RECOUNT:
        connection.exec_driver_sql(statement)


def spans(query: Query, shard: int) -> list[CoveredSpan]:
    """What a shard has, ascending; adjacent spans differ in their tables."""
    return [CoveredSpan(HeightRange(first, last), _names(tables)) for tables, first, last in query(_SPANS, shard=shard)]


def ranges(query: Query, shard: int, tables: Collection[str] = ()) -> list[HeightRange]:
    """The heights of a shard that were written to all of `tables`, ascending, as ranges that do not touch."""
    return [HeightRange(*row) for row in query(_COVERED, shard=shard, tables=",".join(tables))]


def extents(query: Query) -> dict[int, HeightRange]:
    """The lowest and the highest folded height of every shard that has any."""
    return {shard: HeightRange(first, last) for shard, first, last in query(_EXTENTS)}


@lru_cache(maxsize=256)
def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split(",")) if listed else frozenset()
