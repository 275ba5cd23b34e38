"""Makes the schemas of readers (fc_pipeline.serving) in the database, and again where something of them is missing."""

from collections import Counter
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from fc_pipeline.errors import ConfigError
from fc_pipeline.serving.objects import SCHEMAS, ServedObject, digest, served_objects

__all__ = ["install", "is_current"]

_MARK: Final = "Made by fc_pipeline, declarations"
_FOUND: Final = sa.text(
    "SELECT n.nspname || '.' || c.relname, obj_description(n.oid) FROM pg_namespace AS n "
    "JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relkind = 'v' WHERE n.nspname = ANY (:schemas) "
    "UNION ALL SELECT n.nspname || '.' || p.proname, obj_description(n.oid) FROM pg_namespace AS n "
    "JOIN pg_proc AS p ON p.pronamespace = n.oid WHERE n.nspname = ANY (:schemas)"
)
_CHANGED_SHAPE: Final = ("42P13", "42P16")
"""What Postgres says of a function or view whose result has other columns than the one that it is to replace."""
_IS_USED: Final = "2BP01"
_STANDING_ON: Final = sa.text(
    "WITH RECURSIVE standing AS (SELECT to_regclass(:name)::oid AS oid UNION SELECT r.ev_class FROM standing AS s "
    "JOIN pg_depend AS d ON d.refobjid = s.oid AND d.classid = 'pg_rewrite'::regclass "
    "JOIN pg_rewrite AS r ON r.oid = d.objid) "
    "SELECT n.nspname || '.' || c.relname FROM standing AS s JOIN pg_class AS c USING (oid) "
    "JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid <> to_regclass(:name)"
)
"""The views that read a view, at any distance."""


def _mark() -> str:
    return f"{_MARK} {digest()}"


def is_current(connection: sa.Connection) -> bool:
    """Whether every function and view is there, as this release declares it."""
    found = Counter[str]()
    for name, mark in connection.execute(_FOUND, {"schemas": list(SCHEMAS)}):
        if mark != _mark():
            return False
        found[name] += 1
    return all(found[one.name] > 0 for one in served_objects())


def install(connection: sa.Connection) -> None:
    """Make all of them, in place of those that there are.

    Raises ConfigError where something of the user's stands on one whose shape has changed: it is named.
    """
    schemas = [schema for schema in SCHEMAS if any(one.schema == schema for one in served_objects())]
    for schema in schemas:
        known = connection.scalar(sa.text("SELECT to_regnamespace(:name) IS NOT NULL"), {"name": schema})
        if not known:  # IF NOT EXISTS wants rights on the database all the same
            connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    for one in served_objects():
        _make(connection, one)
    for schema in schemas:
        connection.exec_driver_sql(f"COMMENT ON SCHEMA {schema} IS '{_mark()}'")


def _make(connection: sa.Connection, one: ServedObject) -> None:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(_escaped(one.create))
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) not in _CHANGED_SHAPE:
            raise
        _replace(connection, one)


def _escaped(statement: str) -> str:
    """For a driver to which % begins a parameter."""
    return statement.replace("%", "%%")


def _replace(connection: sa.Connection, one: ServedObject) -> None:
    """Drop it and make it anew; so are those of ours that stand on it, which come after it."""
    standing = set(connection.execute(_STANDING_ON, {"name": one.name}).scalars())
    try:
        with connection.begin_nested():
            for other in reversed(served_objects()):
                if other.name in standing:
                    connection.exec_driver_sql(f"DROP VIEW {other.name}")
            connection.exec_driver_sql(f"DROP {one.kind.upper()} {one.name}")
            connection.exec_driver_sql(_escaped(one.create))
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _IS_USED:
            raise
        detail = str(getattr(getattr(error.orig, "diag", None), "message_detail", None) or error.orig)
        raise ConfigError(
            f"{one.name} has other columns in this release, and yours depend on it: {' '.join(detail.split())}",
            hint="drop what depends on it, start again, and create it anew",
        ) from error
