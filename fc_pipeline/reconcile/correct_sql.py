"""The SQL that applies a comparison's changes: counts them, records drift with both versions of a row, and writes."""

from functools import cache
from typing import Final

from fc_pipeline.reconcile.compare_sql import IS_DIFFERENCE, change_name
from fc_pipeline.reconcile.listed_leaves import ALL_KNOWN_STAGING
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.counts import CAST_COUNTS, USER_COUNTS

__all__ = [
    "COUNTED_KEYS",
    "IS_ANY_KNOWN",
    "LOCK_NAMES",
    "NOTE_FOLDED",
    "correct",
    "count",
    "differing_fids",
    "examples",
    "record_drift",
]

_OWN_COLUMNS: Final = ("about_fid", "change", "table_version", "is_drift")
"""The columns of a change that are not the row's."""

LOCK_NAMES: Final = (
    "SELECT count(*) FROM (SELECT FROM public.username_proofs AS t JOIN change_username_proofs AS c "
    "ON c.name = t.name AND c.type = t.type ORDER BY t.name, t.type FOR UPDATE OF t) AS locked"
)
"""Names belong to all shards, so folds of other shards may write them meanwhile: same order, to avoid deadlocks."""

NOTE_FOLDED: Final = (
    "UPDATE pipeline.snapshots AS s SET folded_version = p.version, "
    "folded_file = CASE WHEN s.version = p.version THEN s.file ELSE s.folded_file END, "
    "folded_at = now(), folded_run_id = $1, folded_until_id = p.until_id, "
    f"leaves_versions = CASE WHEN EXISTS (SELECT FROM {ALL_KNOWN_STAGING} AS k WHERE k.fid = p.fid) "
    "THEN (SELECT array_agg(CASE WHEN h.shard = p.shard THEN p.version ELSE h.before_id END ORDER BY h.shard) "
    "FROM stage_heads AS h) ELSE s.leaves_versions END FROM stage_snapshots AS p WHERE s.fid = p.fid"
)
"""Empties the staging tables for the next comparison."""


_KNOWN: Final = (
    "SELECT p.fid FROM stage_snapshots AS p WHERE EXISTS (SELECT FROM stage_comparable AS j WHERE j.fid = p.fid) "
    "OR EXISTS (SELECT FROM pipeline.snapshots AS s WHERE s.fid = p.fid AND s.folded_at IS NOT NULL)"
)
IS_ANY_KNOWN: Final = f"SELECT EXISTS ({_KNOWN})"
"""Whether the history of one of the users is covered, or an earlier snapshot is folded."""

COUNTED_KEYS: Final = {
    CAST_COUNTS: f"SELECT c.hash FROM ({_KNOWN}) AS f CROSS JOIN LATERAL (SELECT hash FROM public.casts "
    "WHERE fid = f.fid OFFSET 0) AS c",
    USER_COUNTS: _KNOWN,
}
"""The keys whose counts are counted again: these users and their casts."""


@cache
def count(table: DataTable) -> str:
    """How many changes there are, by kind, and whether they are drift."""
    return (
        f"SELECT change, is_drift, count(*) FROM {change_name(table)} WHERE {IS_DIFFERENCE} GROUP BY change, is_drift"
    )


def differing_fids(table: DataTable) -> str:
    """The FIDs of which a row differs."""
    return f"SELECT DISTINCT about_fid FROM {change_name(table)} WHERE {IS_DIFFERENCE}"


def _key(table: DataTable, source: str) -> str:
    return "jsonb_build_object(" + ", ".join(f"'{name}', {source}.{name}" for name in table.key) + ")"


def _joined(table: DataTable, changes: str) -> str:
    same_key = " AND ".join(f"r.{name} = c.{name}" for name in table.key)
    return (
        f"{changes} AS c JOIN stage_snapshots AS p ON p.fid = c.about_fid "
        f"LEFT JOIN LATERAL (SELECT * FROM {table.qualified} AS r WHERE {same_key} OFFSET 0) AS t ON true"
    )


def _table_row(table: DataTable) -> str:
    """The row of the table as JSON, without what the database sets."""
    return "to_jsonb(t)" + "".join(f" - '{stamp.name}'" for stamp in table.stamps)


_HUB_ROW = (
    "CASE WHEN c.change <> 'phantom' THEN to_jsonb(c)" + "".join(f" - '{name}'" for name in _OWN_COLUMNS) + " END"
)


@cache
def record_drift(table: DataTable) -> str:
    """Record every change of a covered history in `pipeline.drift`, before it is written; `$1` is the run's id."""
    return (
        "INSERT INTO pipeline.drift (table_name, fid, bucket, shard, kind, key, table_row, hub_row, table_version, "
        f"snapshot_version, run_id) SELECT '{table.name}', c.about_fid, c.about_fid % 256, p.shard, c.change, "
        f"{_key(table, 'c')}, {_table_row(table)}, {_HUB_ROW}, c.table_version, p.version, $1 "
        f"FROM {_joined(table, change_name(table))} WHERE c.is_drift"
    )


@cache
def examples(table: DataTable) -> str:
    """Some changes with both versions of the row, as text, drift first; `$1` is how many."""
    some = (
        f"(SELECT * FROM {change_name(table)} WHERE {IS_DIFFERENCE} ORDER BY is_drift DESC, about_fid LIMIT $1::bigint)"
    )
    return (
        f"SELECT c.about_fid, c.change, c.is_drift, {_key(table, 'c')}::text, ({_table_row(table)})::text, "
        f"({_HUB_ROW})::text FROM {_joined(table, some)}"
    )


@cache
def correct(table: DataTable) -> tuple[str, ...]:
    """Apply the changes to the rows; the last statement returns how many were inserted, updated and deleted.

    A row that changed since the comparison stays: that can only be a name.
    """
    same_key = " AND ".join(f"t.{name} = c.{name}" for name in table.key)
    values = {column.name: column.value_of("c") for column in table.columns}
    updated = ", ".join(f"{name} = {values[name]}" for name in table.names if name not in table.key)
    names, key = ", ".join(table.names), ", ".join(table.key)
    write = (
        f"WITH updated AS (UPDATE {table.qualified} AS t SET {updated} FROM {change_name(table)} AS c "
        f"WHERE {same_key} AND t.version = c.table_version RETURNING t.deleted_at IS NOT NULL AS dead), "
        f"inserted AS (INSERT INTO {table.qualified} ({names}) SELECT {', '.join(values.values())} "
        f"FROM {change_name(table)} AS c WHERE table_version IS NULL ORDER BY {key} "
        f"ON CONFLICT ({key}) DO NOTHING RETURNING 1) "
        "SELECT (SELECT count(*) FROM inserted), (SELECT count(*) FROM updated WHERE NOT dead), "
        "(SELECT count(*) FROM updated WHERE dead)"
    )
    return (LOCK_NAMES, write) if table.comparison is Comparison.NAMES else (write,)
