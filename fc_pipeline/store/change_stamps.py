"""When and by which transaction a row was last changed: triggers that no statement, ours or by hand, can forget.

An insert gets its stamps as defaults of their columns, an update from a trigger for each row that does not set them
itself. A deleted row leaves its key in `pipeline.removals`.
"""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.partitions import partitions_of
from fc_pipeline.tables.cast_threads import CAST_THREADS
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import CHANGED_AT, DataTable
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["install"]

_THIS_TRANSACTION: Final = "txid_current()"

_FUNCTIONS: Final = (
    """
CREATE OR REPLACE FUNCTION pipeline.stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  NEW.change_id := txid_current();
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE FUNCTION pipeline.stamp_changed_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.changed_at := now();
  NEW.change_id := txid_current();
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE FUNCTION pipeline.note_removals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pipeline.removals (table_name, key)
  SELECT TG_ARGV[0], (SELECT jsonb_object_agg(c.key, c.value) FROM jsonb_each(to_jsonb(g)) AS c
    WHERE c.key = ANY (TG_ARGV[1:])) FROM gone AS g;
  RETURN NULL;
END $$
""",
)

# A cast changes with its root, which readers find beside it. Looked up one by one: nothing is known of how many came.
# One that another transaction has locked is being changed by that: to wait for it, which may wait for us, is no use.
_TOUCH_CASTS: Final = (
    f"""
CREATE OR REPLACE FUNCTION pipeline.touch_casts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE {CASTS.qualified} AS c SET updated_at = now(), change_id = {_THIS_TRANSACTION} FROM (
    SELECT k.place, k.fid FROM after AS a JOIN before AS b ON b.hash = a.hash CROSS JOIN LATERAL (
      SELECT r.ctid AS place, r.fid FROM {CASTS.qualified} AS r WHERE r.hash = a.hash AND r.deleted_at IS NULL
      OFFSET 0 FOR UPDATE SKIP LOCKED) AS k
    WHERE (a.root_hash, a.root_url) IS DISTINCT FROM (b.root_hash, b.root_url) OFFSET 0) AS p
  WHERE {CASTS.is_found_at("c", "p")};
  RETURN NULL;
END $$
""",
    f"CREATE OR REPLACE TRIGGER touch_casts AFTER UPDATE ON {CAST_THREADS.qualified} REFERENCING OLD TABLE AS before "
    "NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION pipeline.touch_casts()",
)


def install(connection: sa.Connection) -> None:
    """Create the triggers of every table, in place of those that it has; the tables exist."""
    for function in _FUNCTIONS:
        connection.exec_driver_sql(function)
    for table in ALL_TABLES.values():
        connection.exec_driver_sql(_stamping(table))
        for relation in (table.qualified, *partitions_of(connection, table)):
            connection.exec_driver_sql(_noting_removals(table, relation))
    for statement in _TOUCH_CASTS:
        connection.exec_driver_sql(statement)


def _stamping(table: DataTable) -> str:
    """Of each row: partitions get the trigger with it."""
    stamp = "stamp_changed_at" if CHANGED_AT in table.stamps else "stamp_change"
    return (
        f"CREATE OR REPLACE TRIGGER stamp_change BEFORE UPDATE ON {table.qualified} "
        f"FOR EACH ROW WHEN (NEW.change_id <> {_THIS_TRANSACTION}) EXECUTE FUNCTION pipeline.{stamp}()"
    )


def _noting_removals(table: DataTable, relation: str) -> str:
    arguments = ", ".join(f"'{name}'" for name in (table.name, *table.key))
    return (
        f"CREATE OR REPLACE TRIGGER note_removals AFTER DELETE ON {relation} REFERENCING OLD TABLE AS gone "
        f"FOR EACH STATEMENT EXECUTE FUNCTION pipeline.note_removals({arguments})"
    )
