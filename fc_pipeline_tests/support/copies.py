"""Databases that are copies of a template, used again where a test has changed nothing in them but rows.

Making and dropping one is a thousand files, for which ext4 takes up to half a second of the processor where many were
deleted a moment before; deleting a test's rows takes some milliseconds.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, text

from fc_pipeline.config.settings import Settings

__all__ = ["Copies", "exists"]

PATIENCE_SECONDS: Final = 0.5
"""How long a session that was closed may take to end; a database that somebody still uses is dropped."""

_LASTING = "SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'"
_CATALOGS: Final = {
    "pg_namespace": f"oid IN ({_LASTING})",
    "pg_class": f"relnamespace IN ({_LASTING})",
    "pg_attribute": f"attrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN ({_LASTING}))",
    "pg_type": f"typnamespace IN ({_LASTING})",
    "pg_index": f"indrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN ({_LASTING}))",
    "pg_attrdef": f"adrelid IN (SELECT oid FROM pg_class WHERE relnamespace IN ({_LASTING}))",
    "pg_constraint": f"connamespace IN ({_LASTING})",
    "pg_proc": f"pronamespace IN ({_LASTING})",
    "pg_trigger": "true",
    "pg_event_trigger": "true",
    "pg_rewrite": "true",
    "pg_policy": "true",
    "pg_extension": "true",
    "pg_default_acl": "true",
    "pg_description": "true",
    "pg_statistic_ext": "true",
    "pg_db_role_setting": "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
    "pg_prepared_xacts": "database = current_database()",
}
"""What says what is in a database, and which of its rows are no session's own temporary tables."""


@dataclass
class Copies:
    """Those of one template on one server; `fill`, given the template's name, makes what is in it."""

    settings: Settings
    template: str
    fill: Callable[[str], None]
    _spare: list[str] = field(default_factory=list[str])
    _shape: str = ""
    _emptied: tuple[str, ...] = ()

    def take(self, admin: Connection, name: str) -> None:
        """Make a database of this name."""
        if not exists(admin, self.template):
            admin.execute(text(f"CREATE DATABASE {self.template} STRATEGY file_copy"))
            self.fill(self.template)
            self._spare, self._emptied = [], ()
            with closing(self._connect(self.template)) as connection:
                self._emptied = _empty_tables(connection)
                self._shape = self._shape_of(connection)
        if self._spare:  # under another name: what the process remembers of a database, it remembers by URL
            admin.execute(text(f'ALTER DATABASE "{self._spare.pop()}" RENAME TO "{name}"'))
        else:
            admin.execute(text(f'CREATE DATABASE "{name}" TEMPLATE {self.template} STRATEGY file_copy'))

    def give_back(self, admin: Connection, name: str) -> None:
        """Empty it for the next, or drop it where more than rows was changed or somebody is still connected."""
        if _is_left(admin, name) and self._restore(name):
            spare = f"spare_{len(self._spare)}_{self.template}"
            admin.execute(text(f'ALTER DATABASE "{name}" RENAME TO "{spare}"'))
            self._spare.append(spare)
        else:
            admin.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))

    def _restore(self, name: str) -> bool:
        """Delete all rows that the template has not; False where it has become another database than the template."""
        with closing(self._connect(name)) as connection:
            if self._shape_of(connection) != self._shape:
                return False
            with connection.cursor() as cursor:
                deletions = "; ".join(f"DELETE FROM {table}" for table in self._emptied)
                cursor.execute(f"SET session_replication_role = replica; {deletions}")
                cursor.execute("SELECT setval(seqrelid, seqstart, false) FROM pg_sequence")
                cursor.execute("SELECT pg_stat_reset()")
        return True

    def _shape_of(self, connection: extensions.connection) -> str:
        """Equal for two copies that differ in rows only: how many rows each catalog has and which changed last."""
        with connection.cursor() as cursor:
            counted = [
                f"(SELECT count(*) || '-' || coalesce(max(xmin::text::bigint), 0) FROM {name} WHERE {condition})"
                if name != "pg_prepared_xacts"
                else f"(SELECT count(*)::text FROM {name} WHERE {condition})"
                for name, condition in _CATALOGS.items()
            ]
            cursor.execute(f"SELECT concat_ws(' ', {', '.join(counted)})")
            parts = [str(cursor.fetchall())]
            cursor.execute(
                "SELECT datdba, datacl::text, datconnlimit, datallowconn FROM pg_database "
                "WHERE datname = current_database()"
            )
            parts.append(str(cursor.fetchall()))
            for table in sorted(set(_tables(connection)) - set(self._emptied)):
                cursor.execute(f"SELECT count(*), max(xmin::text::bigint) FROM {table}")
                parts.append(f"{table} {cursor.fetchall()}")
        return " ".join(parts)

    def _connect(self, name: str) -> extensions.connection:
        connection = psycopg2.connect(self.settings.libpq_url(name))
        connection.autocommit = True
        return connection


def exists(admin: Connection, database: str) -> bool:
    return admin.scalar(text("SELECT true FROM pg_database WHERE datname = :name"), {"name": database}) is True


def _tables(connection: extensions.connection) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname !~ '^pg_temp_' ORDER BY 1"
        )
        return [str(row[0]) for row in cursor.fetchall()]


def _empty_tables(connection: extensions.connection) -> tuple[str, ...]:
    found: list[str] = []
    with connection.cursor() as cursor:
        for table in _tables(connection):
            cursor.execute(f"SELECT EXISTS (SELECT FROM {table})")
            if cursor.fetchall() == [(False,)]:
                found.append(table)
    return tuple(found)


def _is_left(admin: Connection, name: str) -> bool:
    """Whether it is there, and nobody is connected to it."""
    query = text(
        "SELECT (SELECT count(*) FROM pg_stat_activity WHERE datname = :name AND backend_type = 'client backend') "
        "FROM pg_database WHERE datname = :name AND datallowconn"
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (sessions := admin.scalar(query, {"name": name})) and time.monotonic() < deadline:
        time.sleep(0.01)
    return sessions == 0
