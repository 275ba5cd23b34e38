"""The one place that opens Postgres sessions, with the settings that our statements rely on.

A session comes as the shell, the role (ALTER ROLE … SET), the database (ALTER DATABASE … SET) and the URL made it. What
is said here beats them all. It is set by a statement after connecting, not by the connection's `options`, which poolers
refuse; `options` of a URL are kept, since some hosts route by them.

What an owner may want of a role is left alone: `role`, `work_mem`, `synchronous_commit`, tablespaces, logging.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import adbc_driver_manager
import psycopg2
import sqlalchemy as sa
from psycopg2.extensions import connection as PsycopgConnection  # noqa: N812
from psycopg2.extensions import make_dsn

from fc_pipeline.errors import ConfigError, PostgresError
from fc_pipeline.store.environment import hide_postgres_variables

__all__ = [
    "SESSION",
    "UTF8_DATABASE",
    "PsycopgConnection",
    "address",
    "connect",
    "connect_at_once",
    "make_engine",
    "pinning",
    "require_utf8",
    "with_connection_slot",
]

T = TypeVar("T")

ENCODING: Final = "UTF8"
UTF8_DATABASE: Final = f"ENCODING '{ENCODING}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
"""What CREATE DATABASE says for one that can hold the network's texts, whatever the server's own encoding."""

SESSION: Final[Mapping[str, str]] = {
    # Both drivers speak UTF-8, ADBC without asking: any other value stores every text that is not ASCII wrong.
    "client_encoding": ENCODING,
    # Names without a schema are those of `public`, and never of a schema that is named like the role.
    "search_path": "public",
    # Text of times, numbers, bytes and intervals, in statements and in what comes back.
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    # Compiling a plan takes seconds, a micro-batch milliseconds: estimates for staging tables are far too high.
    "jit": "off",
    # Merges are prepared once per session, and forbid reading whole tables for themselves alone (fold.merging).
    "plan_cache_mode": "auto",
    "enable_hashjoin": "on",
    "enable_mergejoin": "on",
    "enable_material": "on",
    "enable_nestloop": "on",
    "enable_seqscan": "on",
    "enable_indexscan": "on",
    "enable_bitmapscan": "on",
    "enable_sort": "on",
    # A fold of many snapshots takes minutes, a lock is waited for as long as its holder works, and leases, advisory
    # locks and staging tables live as long as their session, which may be idle for long.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "transaction_timeout": "0",
    "idle_session_timeout": "0",
    # A process that hangs inside a transaction, such as a paused one, loses its session, and so its locks.
    "idle_in_transaction_session_timeout": "15min",
    # The order of locks and reads in a fold is made for this level, and a fold writes.
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # What fails is rolled back, and tried again in the same session.
    "exit_on_error": "off",
    # libpq writes notices to the terminal.
    "client_min_messages": "warning",
    "application_name": "fc_pipeline",
}
"""Per setting the value that holds in every session of ours; one that a server does not know is left out."""

WAIT_FOR_CONNECTION_SECONDS: Final = 45.0
FIRST_PAUSE_SECONDS: Final = 0.2
MAX_PAUSE_SECONDS: Final = 2.0

# No driver gives the SQLSTATE of a failed connection.
_TOO_MANY: Final = (
    "too many clients already",
    "remaining connection slots are reserved",
    "too many connections for",
    "no more connections allowed",
)


def connect(url: str, **settings: str) -> PsycopgConnection:
    """A session of psycopg2 to a libpq URL. `settings` hold in it above SESSION.

    Raises ConfigError where the database cannot hold the network's texts, PostgresError where the server had no
    connection to spare for WAIT_FOR_CONNECTION_SECONDS, else psycopg2's errors.
    """
    return _pinned(with_connection_slot(lambda: psycopg2.connect(address(url))), settings)


def connect_at_once(url: str, timeout_seconds: int) -> PsycopgConnection:
    """The same where waiting is worse than an answer: raises psycopg2's error where there is no connection to spare."""
    return _pinned(psycopg2.connect(address(url), connect_timeout=timeout_seconds), {})


def _pinned(connection: PsycopgConnection, settings: Mapping[str, str]) -> PsycopgConnection:
    try:
        require_utf8(str(connection.info.parameter_status("server_encoding")), connection.info.dbname)
        wanted = {**SESSION, **settings}
        connection.autocommit = True  # else a rollback would take the settings along
        with connection.cursor() as cursor:
            cursor.execute(pinning(wanted, ["%s"] * len(wanted)), list(wanted.values()))
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
    return connection


def make_engine(url: str, *, settings: Mapping[str, str] | None = None, **options: Any) -> sa.Engine:
    """An SQLAlchemy engine for a libpq URL, whose sessions are those of `connect`.

    Kept connections are asked whether they live before they are used again. Tables that name no schema are those of
    `public`. `options` are those of sqlalchemy.create_engine.
    """
    engine = sa.create_engine(
        "postgresql+psycopg2://",
        creator=partial(connect, url, **(settings or {})),
        pool_pre_ping=True,
        use_native_hstore=False,  # would query each new session for an unused type
        **options,
    )
    return engine.execution_options(schema_translate_map={None: "public"})


def address(url: str) -> str:
    """The URL as libpq takes it, with our encoding from the first byte on, and the shell kept out of it."""
    hide_postgres_variables()
    return make_dsn(url, client_encoding=ENCODING)


def pinning(wanted: Mapping[str, str], placeholders: list[str]) -> str:
    """The one statement (ADBC sends one at a time) that makes a session ours; older servers lack some settings."""
    settings = (
        f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN set_config('{name}', {placeholder}, false) END"
        for name, placeholder in zip(wanted, placeholders, strict=True)
    )
    return f"SELECT {', '.join(settings)}"


def require_utf8(encoding: str, database: str) -> None:
    """Raise ConfigError where a database of this encoding cannot hold the network's texts."""
    if encoding != ENCODING:
        raise ConfigError(
            f"the database {database!r} cannot hold the network's texts: its encoding is {encoding}, not {ENCODING}",
            hint=f'make another one, and name it in FC_POSTGRES_URL: CREATE DATABASE "{database}_utf8" {UTF8_DATABASE}',
        )


def with_connection_slot(attempt: Callable[[], T]) -> T:
    """Connect; while the server has no free connection slot, wait for one."""
    deadline = time.monotonic() + WAIT_FOR_CONNECTION_SECONDS
    pause_seconds = FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except (psycopg2.OperationalError, adbc_driver_manager.Error) as error:
            message = " ".join(str(error).split())
            if not any(words in message for words in _TOO_MANY):
                raise
            if time.monotonic() + pause_seconds > deadline:
                raise PostgresError(
                    f"Postgres: {message} (SQLSTATE 53300)",
                    hint="it has no connection to spare: raise max_connections, or the CONNECTION LIMIT of the role or "
                    "the database, or close others",
                ) from error
        time.sleep(pause_seconds)
        pause_seconds = min(MAX_PAUSE_SECONDS, pause_seconds * 2)
