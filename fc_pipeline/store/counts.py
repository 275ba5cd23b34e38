"""Keeps the counts: triggers note how rows come and go, and what was noted is added before the transaction commits.

A writing session collects the changes in temporary tables and adds them up at its end, while it holds one lock for all
counts: hot keys are waited for once, and for a short time. In any other session, such as one in which somebody deletes
rows by hand, each statement adds its changes at once, and holds no more than the counts that it changes.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.advisory_locks import THREADS_AND_COUNTS
from fc_pipeline.store.partitions import partitions_of
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.counts import COUNT_TABLES, Count, CountTable

__all__ = ["ADD_CHANGES", "ADD_CHANGES_SO_FAR", "CREATE_STAGING", "correct", "fill", "install", "recount", "wrong"]

_SOURCES: Final = tuple({one.source.name: one.source for table in COUNT_TABLES for one in table.counts}.values())


def _changes(table: CountTable) -> str:
    """The temporary table of a session's changes."""
    return f"pg_temp.{table.name}_changes"


CREATE_STAGING: Final = tuple(
    f"CREATE TEMPORARY TABLE IF NOT EXISTS {table.name}_changes ({table.key.name} {table.key.type.postgres}, "
    f"{', '.join(f'{name} bigint' for name in table.names)}) ON COMMIT DELETE ROWS"
    for table in COUNT_TABLES
)
"""For a session that collects its changes."""

ADD_CHANGES: Final = "SELECT pipeline.add_count_changes()"
"""The last statement of such a session's transaction."""

ADD_CHANGES_SO_FAR: Final = (
    THREADS_AND_COUNTS.until_commit(),
    ADD_CHANGES,
    *(f"DELETE FROM {_changes(table)}" for table in COUNT_TABLES),
)
"""Before counts are corrected in the transaction that has changed what they count."""


def _contributions(one: CountTable, counts: Sequence[Count], rows: str, sign: str) -> Iterator[str]:
    """What rows, live ones alone, count for, one SELECT per key of theirs; `sign` is + or -."""
    for key in dict.fromkeys(count.key for count in counts):
        of_key = [count for count in counts if count.key == key]
        values = ", ".join(
            f"CASE WHEN {next(c.condition for c in of_key if c.name == name)} THEN {sign}1 ELSE 0 END"
            if name in {c.name for c in of_key}
            else "0"
            for name in one.names
        )
        is_counted = " OR ".join(f"({count.condition})" for count in of_key)
        yield (
            f"SELECT r.{key}, {values} FROM {rows} AS r "
            f"WHERE r.deleted_at IS NULL AND r.{key} IS NOT NULL AND ({is_counted})"
        )


def _sums(one: CountTable, parts: Sequence[str]) -> str:
    """The changes by key, without those that come to nothing."""
    columns = ", ".join((one.key.name, *one.names))
    sums = ", ".join(f"sum({name})::bigint AS {name}" for name in one.names)
    is_change = " OR ".join(f"sum({name}) <> 0" for name in one.names)
    return (
        f"SELECT {one.key.name}, {sums} FROM ({' UNION ALL '.join(parts)}) AS parts ({columns}) "
        f"GROUP BY {one.key.name} HAVING {is_change}"
    )


def _added(one: CountTable, changes: str) -> str:
    """Add changes by key to the counts, key by key in order."""
    key, names = one.key.name, one.names
    return (
        f"INSERT INTO {one.qualified} AS t ({', '.join((key, *names))}) SELECT * FROM ({changes}) AS c ORDER BY {key} "
        f"ON CONFLICT ({key}) DO UPDATE SET {', '.join(f'{name} = t.{name} + excluded.{name}' for name in names)}"
    )


def _emptied(one: CountTable, changes: str) -> str:
    """Delete the counts of keys of which there is nothing left; `changes` has what was added and taken away by key."""
    is_nothing = " AND ".join(f"t.{name} = 0" for name in one.names)
    is_less = " OR ".join(f"{name} < 0" for name in one.names)
    columns = ", ".join((one.key.name, *one.names))
    return (
        f"DELETE FROM {one.qualified} AS t USING (SELECT DISTINCT {one.key.name} FROM {changes} AS c ({columns}) "
        f"WHERE {is_less}) AS less WHERE t.{one.key.name} = less.{one.key.name} AND {is_nothing}"
    )


_EVENTS: Final = {
    "INSERT": ("REFERENCING NEW TABLE AS added", (("added", "+"),)),
    "UPDATE": ("REFERENCING OLD TABLE AS gone NEW TABLE AS added", (("added", "+"), ("gone", "-"))),
    "DELETE": ("REFERENCING OLD TABLE AS gone", (("gone", "-"),)),
}


def _function_name(source: DataTable, event: str) -> str:
    return f"pipeline.count_{source.name}_{event.lower()}"


def _trigger_function(source: DataTable, event: str) -> str:
    collected: list[str] = []
    at_once: list[str] = []
    for one in COUNT_TABLES:
        counts = one.of_source(source)
        if counts:
            _, relations = _EVENTS[event]
            parts = {sign: list(_contributions(one, counts, rows, sign)) for rows, sign in relations}
            sums = _sums(one, [part for of_sign in parts.values() for part in of_sign])
            collected.append(f"INSERT INTO {_changes(one)} {sums};")
            at_once.append(f"{_added(one, sums)};")
            if "-" in parts:
                at_once.append(f"{_emptied(one, '(' + ' UNION ALL '.join(parts['-']) + ')')};")
    return f"""
CREATE OR REPLACE FUNCTION {_function_name(source, event)}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass('{_changes(COUNT_TABLES[0])}') IS NOT NULL THEN
    {" ".join(collected)}
  ELSE
    {" ".join(at_once)}
  END IF;
  RETURN NULL;
END $$
"""


def _add_changes() -> str:
    is_any = " OR ".join(f"EXISTS (SELECT FROM {_changes(one)})" for one in COUNT_TABLES)
    statements: list[str] = []
    for one in COUNT_TABLES:
        sums = _sums(one, [f"SELECT {', '.join((one.key.name, *one.names))} FROM {_changes(one)}"])
        statements += [f"{_added(one, sums)};", f"{_emptied(one, _changes(one))};"]
    return f"""
CREATE OR REPLACE FUNCTION pipeline.add_count_changes() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF {is_any} THEN
    PERFORM {THREADS_AND_COUNTS.until_commit().removeprefix("SELECT ")};
    {" ".join(statements)}
  END IF;
END $$
"""


def install(connection: sa.Connection) -> None:
    """Create the functions and triggers, in place of those that there are; the tables exist."""
    connection.exec_driver_sql(_add_changes())
    for source in _SOURCES:
        for event, (relations, _) in _EVENTS.items():
            connection.exec_driver_sql(_trigger_function(source, event))
            for relation in (source.qualified, *partitions_of(connection, source)):  # which a statement may name
                connection.exec_driver_sql(
                    f"CREATE OR REPLACE TRIGGER count_{event.lower()} AFTER {event} ON {relation} {relations} "
                    f"FOR EACH STATEMENT EXECUTE FUNCTION {_function_name(source, event)}()"
                )


def _counted(one: CountTable, keys: str | None) -> str:
    """The counts as the tables have them: of all keys, or of those that a query gives, each found by index."""
    parts: list[str] = []
    for source in _SOURCES:
        counts = one.of_source(source)
        if keys is None:
            parts += _contributions(one, counts, source.qualified, "+")
            continue
        for key in dict.fromkeys(count.key for count in counts):
            rows = (
                f"(SELECT m.* FROM (SELECT DISTINCT * FROM ({keys}) AS k (key)) AS k CROSS JOIN LATERAL "
                f"(SELECT * FROM {source.qualified} AS s WHERE s.{key} = k.key AND s.deleted_at IS NULL OFFSET 0) AS m)"
            )
            parts += _contributions(one, [count for count in counts if count.key == key], rows, "+")
    return _sums(one, parts)


def wrong(one: CountTable, keys: str | None = None) -> str:
    """Keys whose counts are not what the tables have, with the counts that these lack; of all keys, or of these."""
    key = one.key.name
    shown = one.qualified
    if keys is not None:
        shown = (
            f"(SELECT t.* FROM (SELECT DISTINCT * FROM ({keys}) AS k (key)) AS k CROSS JOIN LATERAL "
            f"(SELECT * FROM {one.qualified} AS s WHERE s.{key} = k.key OFFSET 0) AS t)"
        )
    lacking = ", ".join(f"coalesce(c.{name}, 0) - coalesce(t.{name}, 0) AS {name}" for name in one.names)
    ours, theirs = (", ".join(f"coalesce({row}.{name}, 0)" for name in one.names) for row in ("c", "t"))
    return (
        f"SELECT coalesce(c.{key}, t.{key}) AS {key}, {lacking} FROM ({_counted(one, keys)}) AS c "
        f"FULL JOIN {shown} AS t ON t.{key} = c.{key} WHERE ({ours}) <> ({theirs})"
    )


def correct(one: CountTable, keys: str | None = None) -> tuple[str, str]:
    """Correct the counts of all keys, or of those that a query gives; the first statement returns how many.

    One snapshot has both the counts and what they count, so nothing is missed: a transaction that has changed rows and
    not yet committed adds its changes afterwards. To be executed under the lock, after what the session itself has
    changed is added.
    """
    key = one.key.name
    is_nothing = " AND ".join(f"t.{name} = 0" for name in one.names)
    chosen = "" if keys is None else f"t.{key} IN ({keys}) AND "
    return (
        f"WITH added AS ({_added(one, wrong(one, keys))} RETURNING 1) SELECT count(*) FROM added",
        f"DELETE FROM {one.qualified} AS t WHERE {chosen}{is_nothing}",
    )


def fill(one: CountTable) -> str:
    """Insert the counts of all keys into an empty table, whatever indexes it has."""
    return f"INSERT INTO {one.qualified} ({', '.join((one.key.name, *one.names))}) {_counted(one, None)}"


def recount(connection: sa.Connection) -> None:
    """Correct every count, as after a table was lost."""
    connection.exec_driver_sql(THREADS_AND_COUNTS.until_commit())
    for one in COUNT_TABLES:
        for statement in correct(one):
            connection.exec_driver_sql(statement)
