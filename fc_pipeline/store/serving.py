"""Makes the schemas of readers (fc_pipeline.serving) in the database, and again where something of them is missing."""

from collections import Counter
from typing import Final

import sqlalchemy as sa

from fc_pipeline.errors import ConfigError
from fc_pipeline.serving.objects import SCHEMAS, digest, served_objects

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
    try:
        with connection.begin_nested():
            _make_all(connection)
    except sa.exc.DBAPIError as error:
        if getattr(error.orig, "pgcode", None) not in _CHANGED_SHAPE:
            raise
        _drop_all(connection)
        _make_all(connection)
    for schema in schemas:
        connection.exec_driver_sql(f"COMMENT ON SCHEMA {schema} IS '{_mark()}'")


def _make_all(connection: sa.Connection) -> None:
    for one in served_objects():
        connection.exec_driver_sql(_escaped(one.create))


def _escaped(statement: str) -> str:
    """For a driver to which % begins a parameter."""
    return statement.replace("%", "%%")


def _drop_all(connection: sa.Connection) -> None:
    """Drop ours, the last first: some stand on others. What another release has made besides stays."""
    for one in reversed(served_objects()):
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"DROP {one.kind.upper()} IF EXISTS {one.name}")
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "pgcode", None) != _IS_USED:
                raise
            detail = str(getattr(getattr(error.orig, "diag", None), "message_detail", None) or error.orig)
            raise ConfigError(
                f"schema {one.schema} has other columns in this release, and yours depend on {one.name}: "
                f"{' '.join(detail.split())}",
                hint="drop what depends on it, start again, and create it anew",
            ) from error
