"""Are counts and threads exact? Some of them are counted and walked anew: what changed last, and others by chance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.replica import Replica
from fc_pipeline.store import counts, later_indexes
from fc_pipeline.store.partitions import extent_of
from fc_pipeline.tables.cast_threads import CAST_THREADS
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import BY_CHANGE
from fc_pipeline.tables.counts import CAST_COUNTS, USER_COUNTS, CountTable
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["KEYS_COMPARED", "CountComparison", "ThreadComparison", "WrongCount", "compare_counts", "compare_threads"]

KEYS_COMPARED: Final = 1_000
"""Of each table, at most."""
_NEWEST: Final = KEYS_COMPARED // 4


@dataclass(frozen=True, slots=True)
class WrongCount:
    """A key whose counts are wrong: by how much each is too low, and whose comparison puts it right."""

    key: str
    lacking: Mapping[str, int]
    fid: int | None


@dataclass(frozen=True, slots=True)
class CountComparison:
    """How many keys of a table of counts were compared, and which are wrong."""

    compared: int
    wrong: tuple[WrongCount, ...]


@dataclass(frozen=True, slots=True)
class ThreadComparison:
    """How many casts were walked up from, and those whose thread is wrong, by hash, with their author."""

    compared: int
    wrong: tuple[tuple[str, int], ...]


def _by_chance(table: str, column: str) -> str:
    """Some values of a column, from pages taken by chance; of a small table, all pages."""
    return (
        f"(SELECT {column} FROM public.{table} TABLESAMPLE SYSTEM (:{table}_percent) "
        f"WHERE {column} IS NOT NULL LIMIT {_NEWEST})"
    )


def _newest(table: str, column: str) -> str:
    """Those of the rows that changed last, if an index finds them: a new replica gets it when it has caught up."""
    return (
        f"(SELECT {column} FROM public.{table} WHERE {column} IS NOT NULL AND :{table}_by_change "
        f"ORDER BY change_id DESC LIMIT {_NEWEST})"
    )


_KEYS: Final = {
    CAST_COUNTS.name: (
        _newest("reactions", "target_hash"),
        _newest("casts", "parent_hash"),
        _by_chance("casts", "hash"),
        _by_chance("cast_counts", "hash"),
    ),
    USER_COUNTS.name: (
        _newest("links", "target_fid"),
        _newest("casts", "fid"),
        _by_chance("user_profiles", "fid"),
        _by_chance("user_counts", "fid"),
    ),
}
_SAMPLED: Final = {CAST_COUNTS.name: ("casts", "cast_counts"), USER_COUNTS.name: ("user_profiles", "user_counts")}
_CHANGING: Final = {CAST_COUNTS.name: ("reactions", "casts"), USER_COUNTS.name: ("links", "casts")}
_PAGES: Final = 100
"""A page has some dozens of rows: of a large table a few pages are enough."""


def compare_counts(replica: Replica, table: CountTable) -> CountComparison:
    """Count some keys of a table anew, and compare, as of one moment."""
    key = table.key.name
    keys = f"SELECT DISTINCT key FROM ({' UNION ALL '.join(_KEYS[table.name])}) AS k (key)"
    author = "c.fid FROM public.casts AS c WHERE c.hash = w.hash LIMIT 1" if table is CAST_COUNTS else "w.fid"
    shown = f"encode(w.{key}, 'hex')" if table is CAST_COUNTS else f"w.{key}::text"
    with replica.engine.connect() as connection:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        values = _parameters(connection, _SAMPLED[table.name], _CHANGING[table.name])
        connection.execute(sa.text(f"CREATE TEMPORARY TABLE compared_keys ON COMMIT DROP AS {keys}"), values)
        compared: int = connection.execute(sa.text("SELECT count(*) FROM compared_keys")).scalar_one()
        lacking = counts.wrong(table, "SELECT key FROM compared_keys")
        found = f"SELECT {shown} AS shown, (SELECT {author}) AS author, w.* FROM ({lacking}) AS w"
        rows = connection.exec_driver_sql(found)
        wrong = tuple(_wrong(table, row) for row in rows.mappings())
        connection.rollback()
    return CountComparison(compared, wrong)


def _wrong(table: CountTable, row: Mapping[Any, Any]) -> WrongCount:
    lacking = {name: int(row[name]) for name in table.names if row[name]}
    return WrongCount(f"0x{row['shown']}" if table is CAST_COUNTS else row["shown"], lacking, row["author"])


def _parameters(connection: sa.Connection, sampled: Iterable[str], changing: Iterable[str]) -> dict[str, float | bool]:
    """Of which share of each table's pages keys are taken, and of which tables those that changed last are found."""
    shares = {f"{name}_percent": _percent(connection, name) for name in sampled}
    missing = later_indexes.missing(connection)
    indexes = {name: DATA_TABLES[name].index_name(BY_CHANGE) for name in changing}
    return shares | {f"{name}_by_change": f"public.{index}" not in missing for name, index in indexes.items()}


def _percent(connection: sa.Connection, name: str) -> float:
    return min(100.0, 100.0 * _PAGES / max(extent_of(connection, f"public.{name}").known_pages, 1))


_WALK: Final = f"""
WITH RECURSIVE sampled AS (
  SELECT DISTINCT hash FROM ({_newest("casts", "hash")} UNION ALL {_newest("cast_threads", "hash")}
    UNION ALL {_by_chance("casts", "hash")} UNION ALL {_by_chance("cast_threads", "hash")}) AS s
), up AS (
  SELECT s.hash AS start, c.fid AS author, c.hash, c.fid, c.parent_hash, c.parent_fid, c.parent_url, 0 AS steps
  FROM sampled AS s JOIN public.casts AS c ON c.hash = s.hash AND c.deleted_at IS NULL
  UNION ALL
  SELECT u.start, u.author, c.hash, c.fid, c.parent_hash, c.parent_fid, c.parent_url, u.steps + 1
  FROM up AS u JOIN public.casts AS c ON c.hash = u.parent_hash AND c.deleted_at IS NULL
) CYCLE hash SET is_ring USING walked, tops AS (
  SELECT DISTINCT ON (start) start, author, coalesce(parent_hash, hash) AS root_hash,
    CASE WHEN parent_hash IS NULL THEN fid ELSE parent_fid END AS root_fid,
    CASE WHEN parent_hash IS NULL THEN parent_url END AS root_url,
    steps + (parent_hash IS NOT NULL)::integer AS depth
  FROM up ORDER BY start, steps DESC
)
SELECT (SELECT count(*) FROM sampled) AS compared, encode(coalesce(w.start, t.hash), 'hex') AS hash,
  coalesce(w.author, t.fid) AS author
FROM (SELECT 1) AS one LEFT JOIN (
  tops AS w FULL JOIN (SELECT t.* FROM public.cast_threads AS t JOIN sampled USING (hash)) AS t ON t.hash = w.start
) ON (w.root_hash, w.root_fid, w.root_url, w.depth) IS DISTINCT FROM (t.root_hash, t.root_fid, t.root_url, t.depth)
"""


def compare_threads(replica: Replica) -> ThreadComparison:
    """Walk up from some casts, reply by reply, and compare where that ends with what cast_threads says."""
    with replica.engine.connect() as connection:
        values = _parameters(connection, (CASTS.name, CAST_THREADS.name), (CASTS.name, CAST_THREADS.name))
        rows = connection.execute(sa.text(_WALK), values).mappings().all()
        connection.rollback()
    wrong = tuple((f"0x{row['hash']}", int(row["author"])) for row in rows if row["hash"] is not None)
    return ThreadComparison(int(rows[0]["compared"]), wrong)
