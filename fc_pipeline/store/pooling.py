"""Poolers between us and Postgres: staging tables, prepared merges and locks need a session that stays ours."""

from contextlib import closing
from typing import Final

from fc_pipeline.config.postgres_url import PostgresUrl
from fc_pipeline.errors import ConfigError
from fc_pipeline.store.session import PsycopgConnection, connect

__all__ = ["require_own_session"]

ROUNDS: Final = 3
_BACKEND_PID: Final = "SELECT pg_backend_pid()"


def require_own_session(libpq_url: str) -> None:
    """Raise ConfigError where a pooler, such as PgBouncer, gives us a session for one transaction at a time only.

    Of a server that is asked directly one statement finds it out: who serves us is who did when the session began.
    """
    with closing(_connect(libpq_url)) as first:
        if _backend_pid(first) == first.info.backend_pid:
            return
        with closing(_connect(libpq_url)) as second:
            shared = _are_sharing(first, second)
    if shared:
        raise ConfigError(
            "FC_POSTGRES_URL leads to a pooler in transaction or statement mode: each transaction has another session "
            f"of the database {PostgresUrl.parse(libpq_url).database!r}",
            hint="pool_mode = session for this database in pgbouncer.ini, or name the Postgres server itself",
        )


def _are_sharing(first: PsycopgConnection, second: PsycopgConnection) -> bool:
    """Whether one of two connections is served by several sessions, or both by one.

    Asked one after the other, and each twice in a row: a pooler that takes the session used last gives both the same
    one, one that takes them in turn gives one connection two.
    """
    pids: dict[PsycopgConnection, set[int]] = {first: set(), second: set()}
    for _ in range(ROUNDS):
        for asked in (first, second, second, first):
            pids[asked].add(_backend_pid(asked))
    return any(len(seen) > 1 for seen in pids.values()) or pids[first] == pids[second]


def _connect(libpq_url: str) -> PsycopgConnection:
    """A connection whose statements are transactions of their own: in statement mode there are no others."""
    connection = connect(libpq_url)
    connection.autocommit = True
    return connection


def _backend_pid(connection: PsycopgConnection) -> int:
    with connection.cursor() as cursor:
        cursor.execute(_BACKEND_PID)
        (row,) = cursor.fetchall()
    return row[0]
