"""Advisory locks of a session of their own: held only while their process lives and reaches Postgres.

Locks of a killed process are released with its session, unlike a row.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Any, Final

import psycopg2

from fc_pipeline.errors import PostgresError
from fc_pipeline.store.advisory_locks import AdvisoryLock, held, locks_held
from fc_pipeline.store.session import PsycopgConnection, connect

__all__ = [
    "MAX_NAME_BYTES",
    "UNREACHABLE",
    "SessionLock",
    "holders",
    "kept",
    "objects_locked",
    "session_name",
]

POLL_SECONDS: Final = 2.0
MAX_NAME_BYTES: Final = 63

UNREACHABLE: Final = (psycopg2.OperationalError, psycopg2.InterfaceError, PostgresError)
"""Errors of a Postgres that is down, starting or full."""

# A machine that loses power closes no connections: the server would keep its sessions and locks for two hours.
_DEAD_CLIENT_SETTINGS: Final = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class SessionLock:
    """One lock, of two numbers of 32 bits: a kind and an object; `name` is that of the session in pg_stat_activity."""

    def __init__(self, url: str, kind: int, thing: int = 0, *, name: str) -> None:
        self.lock = AdvisoryLock(kind, thing)
        self._url, self._name = url, name
        self._connection: PsycopgConnection | None = None
        self._use = Lock()

    def try_take(self) -> bool:
        """Take it if it is free; returns whether it is ours now. Raises the errors in UNREACHABLE."""
        with self._use:
            return self._ask(self._connected(), self.lock.attempt())

    def is_taken(self) -> bool:
        """Whether a session holds it; does not take it. Raises the errors in UNREACHABLE."""
        with self._use:
            return self._ask(self._connected(), held(self.lock))

    def is_held(self) -> bool:
        """Whether the session that took it still lives; it is to be taken again where not."""
        with self._use:
            try:
                return self._connection is not None and self._ask(self._connection, "SELECT true")
            except UNREACHABLE:
                return False

    def release(self) -> None:
        """Release it."""
        with self._use:
            self._close()

    def _connected(self) -> PsycopgConnection:
        if self._connection is None:
            name = session_name(self._name)
            self._connection = connect(self._url, application_name=name, **_DEAD_CLIENT_SETTINGS)
            self._connection.autocommit = True
        return self._connection

    def _ask(self, connection: PsycopgConnection, query: str) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                row = cursor.fetchone()
                return row is not None and row[0]
        except psycopg2.Error:
            self._close()
            raise

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg2.Error):
                self._connection.close()
            self._connection = None


@contextmanager
def kept(lock: SessionLock) -> Generator[bool]:
    """Hold the lock while the block runs, and take it again whenever its session was lost; whether it is held at first.

    Raises what UNREACHABLE names where Postgres does not answer at first.
    """
    ended = Event()

    def keep() -> None:
        while not ended.wait(POLL_SECONDS):
            with suppress(*UNREACHABLE):  # looked at again
                if not lock.is_held():
                    lock.try_take()

    held = lock.try_take()
    keeper = Thread(target=keep, name="keep-lock", daemon=True)
    if held:
        keeper.start()
    try:
        yield held
    finally:
        ended.set()
        if held:
            keeper.join()
        lock.release()


def objects_locked(cursor: Any, kind: int) -> set[int]:
    """The keys of a kind that are held."""
    cursor.execute(locks_held(kind, columns="objid::bigint"))
    return {row[0] for row in cursor.fetchall()}


def holders(cursor: Any, kind: int) -> set[str]:
    """The names of the sessions that hold a lock of the kind; empty ones where their role is not to be seen."""
    joined = "LEFT JOIN pg_stat_activity AS session ON session.pid = pg_locks.pid"
    cursor.execute(locks_held(kind, columns="coalesce(session.application_name, '')", joined=joined))
    return {row[0] for row in cursor.fetchall()}


def session_name(text: str) -> str:
    """What Postgres makes of a name: 63 bytes, ASCII."""
    return text.encode("ascii", "replace")[:MAX_NAME_BYTES].decode("ascii")
