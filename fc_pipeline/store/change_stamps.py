"""When and by which transaction a row was last changed: triggers that no statement, ours or by hand, can forget.

An insert gets its stamps as defaults of their columns, an update from a trigger for each row. A deleted row leaves its
key in `pipeline.removals`.
"""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.registry import ALL_TABLES

__all__ = ["install"]

_FUNCTIONS: Final = (
    """
CREATE OR REPLACE FUNCTION pipeline.stamp_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := now();
  NEW.change_id := (pg_current_xact_id()::text)::bigint;
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE FUNCTION pipeline.stamp_change_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.change_id := (pg_current_xact_id()::text)::bigint;
  RETURN NEW;
END $$
""",
    """
CREATE OR REPLACE FUNCTION pipeline.note_removals() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO pipeline.removals (table_name, key)
  SELECT TG_TABLE_NAME, (SELECT jsonb_object_agg(c.key, c.value) FROM jsonb_each(to_jsonb(g)) AS c
    WHERE c.key = ANY (TG_ARGV)) FROM gone AS g;
  RETURN NULL;
END $$
""",
)


def install(connection: sa.Connection) -> None:
    """Create the triggers of every table, in place of those that it has; the tables exist."""
    for function in _FUNCTIONS:
        connection.exec_driver_sql(function)
    for table in ALL_TABLES.values():
        for trigger in _triggers(table):
            connection.exec_driver_sql(trigger)


def _triggers(table: DataTable) -> tuple[str, str]:
    key = ", ".join(f"'{name}'" for name in table.key)
    stamp = "stamp_change" if len(table.stamps) > 1 else "stamp_change_id"
    return (
        f"CREATE OR REPLACE TRIGGER stamp_change BEFORE UPDATE ON {table.qualified} "
        f"FOR EACH ROW EXECUTE FUNCTION pipeline.{stamp}()",
        f"CREATE OR REPLACE TRIGGER note_removals AFTER DELETE ON {table.qualified} REFERENCING OLD TABLE AS gone "
        f"FOR EACH STATEMENT EXECUTE FUNCTION pipeline.note_removals({key})",
    )
