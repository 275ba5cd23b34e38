"""The SQL that compares derived tables with their sources: beside snapshots, and beside the raw log."""

from functools import cache

from fc_pipeline.reconcile import log_sql
from fc_pipeline.reconcile.compare_sql import IS_DIFFERENCE, change_name, content, differs, is_comparable
from fc_pipeline.store import derived
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = [
    "compare",
    "compare_with_sources",
    "count_scopes",
    "stage_changed",
    "stage_scope_in_span",
    "stage_scope_of_wrong",
    "stage_untouched",
]


def _changes(one: DerivedTable) -> list[tuple[str, str]]:
    """The sources that snapshots may change, each with the relation of its changes."""
    compared = [source for source in one.sources if ALL_TABLES[source].comparison is not Comparison.NONE]
    return [(source, change_name(ALL_TABLES[source])) for source in compared]


@cache
def stage_untouched(one: DerivedTable) -> str:
    """Stage the scopes of the snapshots' users, but for those that changes of the sources touch.

    These are derived again after the corrections; that is not counted as a difference.
    """
    names = ", ".join(one.scope)
    of_users = one.of_fids.replace("{fids}", "stage_snapshots")
    of_table = (
        f" UNION SELECT {', '.join(f't.{name}' for name in one.scope)} FROM stage_snapshots AS p "
        f"CROSS JOIN LATERAL (SELECT * FROM {one.table.qualified} WHERE fid = p.fid OFFSET 0) AS t"
        if one.table.is_found_by_fid
        else ""
    )
    touched = " UNION ALL ".join(
        derived.touched_by(one, source, f"(SELECT * FROM {changes} WHERE {IS_DIFFERENCE})")
        for source, changes in _changes(one)
    )
    return (
        f"INSERT INTO {derived.scope_name(one)} ({names}) ({of_users}{of_table}) "
        f"EXCEPT (SELECT {names} FROM ({touched}) AS touched)"
    )


@cache
def compare(one: DerivedTable) -> str:
    """The rows of the staged scopes, compared with what is derived from their sources."""
    table = one.table
    columns: list[str] = []
    for name in table.names:
        if name in table.key:
            columns.append(f"coalesce(s.{name}, t.{name})")
        elif name == "version":
            columns.append("coalesce(s.version, p.version)")
        elif name == "deleted_at":
            columns.append(f"CASE WHEN s.{table.key[0]} IS NULL THEN p.fetched_at ELSE s.deleted_at END")
        else:
            columns.append(f"s.{name}")
    same_scope = " AND ".join(f"r.{name} = f.{name}" for name in one.scope)
    same_key = " AND ".join(f"s.{name} = t.{name}" for name in table.key)
    has_row, is_derived = f"t.{table.key[0]} IS NOT NULL", f"s.{table.key[0]} IS NOT NULL"
    return (
        f"INSERT INTO {change_name(table)} SELECT {', '.join(columns)}, p.fid, "
        f"CASE WHEN NOT ({has_row} AND t.deleted_at IS NULL) THEN 'missing' "
        f"WHEN NOT ({is_derived} AND s.deleted_at IS NULL) THEN 'phantom' ELSE 'different' END, t.version, "
        f"{is_comparable(table, 'p.fid')} "
        f"FROM ({derived.derived_rows(one)}) AS s FULL JOIN (SELECT r.* FROM {derived.scope_name(one)} AS f "
        f"CROSS JOIN LATERAL (SELECT * FROM {table.qualified} AS r WHERE {same_scope} OFFSET 0) AS r) AS t "
        f"ON {same_key} JOIN stage_snapshots AS p ON p.fid = coalesce(s.fid, t.fid) "
        f"WHERE CASE WHEN NOT ({is_derived} AND s.deleted_at IS NULL) THEN {has_row} AND t.deleted_at IS NULL "
        f"WHEN NOT ({has_row} AND t.deleted_at IS NULL) THEN true "
        f"ELSE {differs(table, content(table))} END"
    )


@cache
def stage_changed(one: DerivedTable) -> str:
    """Stage the scopes that are to be derived again: those touched by changes of the sources, and wrong rows."""
    names = ", ".join(one.scope)
    return f"{derived.stage_touched(one, _changes(one))} UNION ALL SELECT {names} FROM {change_name(one.table)}"


def count_scopes(one: DerivedTable) -> str:
    """How many scopes are staged, each counted once."""
    return f"SELECT count(*) FROM (SELECT DISTINCT {', '.join(one.scope)} FROM {derived.scope_name(one)}) AS scopes"


def stage_scope_in_span(one: DerivedTable) -> str:
    """Stage the scopes of derived rows whose version is an event id of `$1`…`$2`."""
    names = ", ".join(one.scope)
    return (
        f"INSERT INTO {derived.scope_name(one)} ({names}) SELECT {names} FROM {one.table.qualified} "
        "WHERE version BETWEEN $1::bigint AND $2::bigint"
    )


@cache
def compare_with_sources(one: DerivedTable) -> str:
    """Stage every row of the staged scopes that is not as the sources have it."""
    table = one.table
    same_scope = " AND ".join(f"r.{name} = f.{name}" for name in one.scope)
    keys = ", ".join(f"coalesce(e.{name}, t.{name})" for name in table.key)
    return (
        f"INSERT INTO wrong_{table.name} SELECT {keys}, "
        "CASE WHEN t.version IS NULL THEN 'missing' WHEN e.version IS NULL THEN 'invented' ELSE 'changed' END, "
        f"coalesce(e.version, t.version), NULL FROM ({derived.derived_rows(one)}) AS e FULL JOIN "
        f"(SELECT r.* FROM (SELECT DISTINCT {', '.join(one.scope)} FROM {derived.scope_name(one)}) AS f "
        "CROSS JOIN LATERAL "
        f"(SELECT * FROM {table.qualified} AS r WHERE {same_scope} OFFSET 0) AS r) AS t "
        f"ON {log_sql.same_key(table, 'e', 't')} "
        f"WHERE t.version IS NULL OR e.version IS NULL OR {log_sql.differs(table)}"
    )


@cache
def stage_scope_of_wrong(one: DerivedTable) -> str:
    """Stage the scopes whose sources are about to change, and those of rows that are wrong themselves."""
    relations = [(source, f"({_changing(ALL_TABLES[source])})") for source in one.sources]
    names = ", ".join(one.scope)
    return f"{derived.stage_touched(one, relations)} UNION ALL SELECT {names} FROM wrong_{one.name}"


def _changing(table: DataTable) -> str:
    """The rows of a table that are to be corrected, as they will be, and those that will go."""
    names = ", ".join(column.value_of("e") for column in table.columns)
    ours = ", ".join(f"t.{name}" for name in table.names)
    return (
        f"SELECT {names} FROM {log_sql.expected_name(table)} AS e JOIN wrong_{table.name} AS w "
        f"ON {log_sql.same_key(table, 'e', 'w')} "
        f"UNION ALL SELECT {ours} FROM {table.qualified} AS t JOIN wrong_{table.name} AS w "
        f"ON {log_sql.same_key(table, 't', 'w')} AND w.kind = 'invented'"
    )
