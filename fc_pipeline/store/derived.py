"""The SQL that derives tables from others: which scopes are touched, and one upsert for all of them."""

from collections.abc import Iterable
from functools import cache
from zlib import crc32

from fc_pipeline.store.advisory_locks import DERIVING, THREADS_AND_COUNTS, AdvisoryLock
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.derived_table import DerivedTable, NewRows

__all__ = [
    "COUNTED",
    "before",
    "create_new_rows",
    "create_scope",
    "derive",
    "derive_exactly",
    "derive_new",
    "derived_rows",
    "empty_scope",
    "gate",
    "is_touched",
    "lock",
    "returning",
    "scope_name",
    "stage_name",
    "stage_touched",
    "touched_by",
]

# How a merge counts what it did.
COUNTED = (
    "SELECT count(*) FILTER (WHERE inserted) AS inserted, "
    "count(*) FILTER (WHERE NOT inserted AND NOT dead) AS updated, "
    "count(*) FILTER (WHERE NOT inserted AND dead) AS deleted FROM merged"
)


def returning(table: DataTable) -> str:
    """The end of an upsert into a table, for COUNTED."""
    return f"RETURNING {table.is_inserted} AS inserted, t.deleted_at IS NOT NULL AS dead"


def stage_name(table: DataTable) -> str:
    """The temporary table that COPY fills for `table`."""
    return f"stage_{table.name}"


def scope_name(one: DerivedTable) -> str:
    """The temporary table of the scopes that are to be derived."""
    return f"scope_{one.name}"


@cache
def create_scope(one: DerivedTable) -> str:
    """Created once per connection and emptied by every commit."""
    columns = ", ".join(f"{c.name} {c.type.postgres}" for c in one.table.columns if c.name in one.scope)
    if one.looks_up_scope:  # a scope may be staged more than once
        columns += f", place bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY ({', '.join(one.scope)}, place)"
    return f"CREATE TEMPORARY TABLE IF NOT EXISTS {scope_name(one)} ({columns}) ON COMMIT DELETE ROWS"


@cache
def create_new_rows(new: NewRows) -> str:
    """The temporary table of rows that a transaction has written, emptied by every commit."""
    columns = ", ".join(f"{name} {kind}" for name, kind, _ in new.columns)
    return f"CREATE TEMPORARY TABLE IF NOT EXISTS {new.name} ({columns}) ON COMMIT DELETE ROWS"


def empty_scope(one: DerivedTable) -> str:
    """For a second derivation in one transaction."""
    return f"DELETE FROM {scope_name(one)}"


def touched_by(one: DerivedTable, source: str, rows: str) -> str:
    """The scopes that rows of a source touch; `rows` is a relation with the source's columns."""
    return one.touched[source].replace("{rows}", rows)


def stage_touched(one: DerivedTable, relations: Iterable[tuple[str, str]]) -> str:
    """Stage the scopes that relations touch, given as (source, relation)."""
    parts = [touched_by(one, source, rows) for source, rows in relations]
    return f"INSERT INTO {scope_name(one)} ({', '.join(one.scope)}) {' UNION ALL '.join(parts)}"


def is_touched(one: DerivedTable, relations: Iterable[tuple[str, str]]) -> str:
    """Whether relations, given as (source, relation), touch any scope."""
    return f"SELECT EXISTS ({' UNION ALL '.join(touched_by(one, source, rows) for source, rows in relations)})"


def gate(one: DerivedTable, *, shared: bool) -> str:
    """Wait, before scopes are looked for, until no fold of another shard makes rows of the table; until commit.

    `shared` by those that only look for rows.
    """
    return AdvisoryLock(DERIVING, crc32(one.name.encode()) >> 1).until_commit(shared=shared)


def before(one: DerivedTable) -> tuple[str, ...]:
    """What has to come before the scopes of a table are staged, to be derived."""
    return (THREADS_AND_COUNTS.until_commit(),) if one.one_at_a_time else ()


def _scopes(one: DerivedTable) -> str:
    names = ", ".join(one.scope)
    known = " AND ".join(f"{name} IS NOT NULL" for name in one.scope)
    return f"(SELECT DISTINCT {names} FROM {scope_name(one)} WHERE {known})"


@cache
def derived_rows(one: DerivedTable) -> str:
    """The rows of the staged scopes as the sources have them."""
    return f"SELECT {', '.join(one.table.names)} FROM ({one.rows.replace('{scope}', _scopes(one))}) AS derived_rows"


@cache
def lock(one: DerivedTable) -> str:
    """Keep the rows of the staged scopes from being derived by another shard's fold until commit.

    Scope by scope, in the same order everywhere, so that two folds wait for each other in turn.
    """
    found = f"SELECT FROM {one.table.qualified} AS t WHERE {_same_scope(one)} ORDER BY {', '.join(one.table.key)}"
    return (
        f"SELECT count(*) FROM (SELECT * FROM {_scopes(one)} AS s ORDER BY {', '.join(one.scope)} OFFSET 0) AS s "
        f"CROSS JOIN LATERAL ({found} OFFSET 0 FOR UPDATE) AS locked"
    )


@cache
def derive(one: DerivedTable, relations: tuple[tuple[str, str], ...] = ()) -> str:
    """Derive the staged scopes; a row that comes out as it was is not written. Returns the counts.

    Rows that nothing keeps any more are deleted; with the `relations` that touched the scopes, given as (source,
    relation), only where these may have lost any. There are no others that are not derived: nobody else writes them.
    """
    merged = _merged(one, f"({derived_rows(one)})")
    if one.kept_by is None:
        return f"WITH {merged} {COUNTED}"
    # A row that is derived is kept, so the two never meet. OFFSET 0: each is looked up by itself, where a join may read
    # the source through (merges forbid the joins that would not).
    gone = _deleted(one, f"NOT EXISTS ({one.kept_by} OFFSET 0)", _losing(one, relations))
    return f"WITH {gone}, {merged} {_COUNTED_WITH_DELETED}"


@cache
def derive_new(one: DerivedTable, new: NewRows) -> str:
    """Derive what follows from the rows noted in the temporary table. Returns the counts."""
    return f"WITH {_merged(one, f'({new.rows})')} {COUNTED}"


def _losing(one: DerivedTable, relations: tuple[tuple[str, str], ...]) -> str:
    """The scopes whose rows may have lost what keeps them."""
    if not relations or not {source for source, _ in relations} <= one.lost.keys():
        return _scopes(one)
    parts = [one.lost[source].replace("{rows}", rows) for source, rows in relations]
    return f"(SELECT DISTINCT {', '.join(one.scope)} FROM ({' UNION ALL '.join(parts)}) AS lost)"


@cache
def derive_exactly(one: DerivedTable) -> str:
    """The same, and delete every row of the staged scopes that is not derived, such as one that somebody invented."""
    same_key = " AND ".join(f"d.{name} = t.{name}" for name in one.table.key)
    is_not_derived = f"NOT EXISTS (SELECT FROM derived AS d WHERE {same_key})"
    return (
        f"WITH derived AS MATERIALIZED ({derived_rows(one)}), {_deleted(one, is_not_derived, _scopes(one))}, "
        f"{_merged(one, 'derived')} {_COUNTED_WITH_DELETED}"
    )


_COUNTED_WITH_DELETED = COUNTED.replace(" AS deleted", " + (SELECT count(*) FROM gone) AS deleted")


def _merged(one: DerivedTable, rows: str) -> str:
    table = one.table
    names = ", ".join(table.names)
    updated = [name for name in table.names if name not in table.key]
    ours, theirs = (", ".join(f"{row}.{name}" for name in updated) for row in ("t", "excluded"))
    return (
        f"merged AS (INSERT INTO {table.qualified} AS t ({names}) SELECT {names} FROM {rows} AS d "
        f"ORDER BY {', '.join(table.key)} ON CONFLICT ({', '.join(table.key)}) "
        f"DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in updated)}, {table.stamped_again} "
        f"WHERE ({ours}) IS DISTINCT FROM ({theirs}) {returning(table)})"
    )


def _deleted(one: DerivedTable, condition: str, scopes: str) -> str:
    """Deletes rows `t` of these scopes that are found scope by scope, as OFFSET 0 makes sure.

    A join of both would be planned as a walk through the whole table where the server believes that to be empty.
    """
    found = f"SELECT t.ctid FROM {one.table.qualified} AS t WHERE {_same_scope(one)} AND {condition} OFFSET 0"
    return (
        f"gone AS (DELETE FROM {one.table.qualified} AS t USING (SELECT f.ctid AS place FROM {scopes} AS s "
        f"CROSS JOIN LATERAL ({found}) AS f) AS g WHERE t.ctid = g.place RETURNING 1)"
    )


def _same_scope(one: DerivedTable) -> str:
    """That row `t` is of scope `s`."""
    return " AND ".join(f"t.{name} = s.{name}" for name in one.scope)
