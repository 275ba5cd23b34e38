"""Postgres' errors: which are transient, how long to retry, and how to explain them to a person.

A failed transaction is rolled back completely. So transient failures are retried for a while: a deadlock, a lock that
another session holds too long, a full disk, a server that restarts, a cut connection.
"""

import logging
import re
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import adbc_driver_manager
import psycopg2
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fc_pipeline.errors import FcPipelineError, PostgresError, SessionLost

__all__ = [
    "POSTGRES_ERRORS",
    "RETRY_BUDGET_SECONDS",
    "RetryBudget",
    "explained",
    "is_of_postgres",
    "is_transient",
    "with_retries",
]

T = TypeVar("T")

_log = logging.getLogger(__name__)

POSTGRES_ERRORS: Final = (adbc_driver_manager.Error, DBAPIError)
"""Errors of the two drivers: that of a run's data, and that of everything else."""

RETRY_BUDGET_SECONDS: Final = 45.0
"""The retry budget of one operation: after a minute without a heartbeat a lease is free for another run."""
FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 2.0

MAX_CHARACTERS: Final = 300
_STATEMENT: Final = re.compile(r"Failed to execute query '.*': ", re.DOTALL)
"""The prefix that the data's driver adds to Postgres' message: the whole statement."""
_DRIVER_WORDS: Final = re.compile(r"^.*?\bERROR: +|\s*Query was: .*$|\s*\.? *SQLSTATE: \w{5}\s*$", re.DOTALL)
"""What else it adds: the operation, the statement, and the SQLSTATE, which is shown anyway."""
_PLACE: Final = re.compile(r"\nLINE \d+: .*?\n *\^", re.DOTALL)
"""Postgres' excerpt of the statement: the line with the error, and a mark below it."""

_QUERY_CANCELED: Final = "57014"
_ROLES: Final = (
    "the role of FC_POSTGRES_URL lacks this right: docs/roles.sql, run by the database's administrator, makes "
    "fc_writer, who has all that the pipeline needs, and fc_reader, who may read"
)
_LOGIN: Final = "are user and password in FC_POSTGRES_URL right, and does pg_hba.conf let them in?"
_HINTS: Final = {
    "42501": _ROLES,
    "28000": _LOGIN,
    "28P01": _LOGIN,
    "3D000": "make the database that FC_POSTGRES_URL names (createdb), or name another one",
    "42P01": "was the table dropped? `fc-pipeline sync` or `up` creates it again and fills it from the raw log",
    "23514": "was a partition dropped? Drop its table, and start again: docs/postgres.md#partitions",
    "3F000": "was the schema dropped? `fc-pipeline sync` or `up` creates it again",
    "58030": "its disk cannot be read or written: see its log",
    "XX001": "its data are damaged: see its log, and restore a copy",
    "XX002": "an index of it is damaged: see its log, and REINDEX",
    "53100": "its disk is full: make room there",
    "53200": "it is out of memory, or of room for locks: see its log; with FC_PG_PARTITIONS, max_locks_per_transaction",
    "53300": "it has no connection to spare: raise max_connections, or close others",
    "55P03": "another session holds a lock: SELECT pid, query FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
    "40P01": "another session locks the same rows in another order: see Postgres' log for both",
    "25006": "it is a standby: name the primary in FC_POSTGRES_URL",
    _QUERY_CANCELED: "somebody cancels its statements: pg_cancel_backend, or a pooler's query_timeout",
}
_TRANSIENT: Final = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05", "25P03", _QUERY_CANCELED})
_TRANSIENT_CLASSES: Final = ("08", "53")
"""Connections; insufficient resources, such as disk (53100) and connections (53300)."""


_REFUSALS: Final = {
    "(?i)no password supplied|authentication failed|no pg_hba": _LOGIN,
    'database "[^"]*" does not exist': _HINTS["3D000"],
    "permission denied": _ROLES,
    "(?i)too many (clients|connections)|remaining connection slots": _HINTS["53300"],
}
"""Messages of refused connections, for which the drivers give no SQLSTATE."""


def is_of_postgres(error: BaseException) -> bool:
    """Whether one of the drivers, or their connection pool, raised it."""
    return isinstance(error, (*POSTGRES_ERRORS, psycopg2.Error, PoolTimeoutError))


def is_transient(error: BaseException) -> bool:
    """Whether a retry may succeed, also where the session or the server is gone."""
    if not isinstance(error, POSTGRES_ERRORS):
        return isinstance(error, SessionLost)
    state = _sqlstate(error)
    if state is not None:
        return state in _TRANSIENT or state[:2] in _TRANSIENT_CLASSES
    if isinstance(error, DBAPIError):
        return bool(error.connection_invalidated) or isinstance(error, OperationalError)
    return getattr(error, "status_code", None) == adbc_driver_manager.AdbcStatusCode.IO


def explained(error: BaseException) -> FcPipelineError:
    """The error for a person: Postgres' message, its SQLSTATE, and a remedy where one is known."""
    if isinstance(error, FcPipelineError):
        return error
    state = _sqlstate(error)
    words = str(getattr(error, "orig", None) or error)
    for around in (_STATEMENT, _DRIVER_WORDS, _PLACE):
        words = around.sub("", words)
    message = " ".join(words.split())[:MAX_CHARACTERS]
    code = f" (SQLSTATE {state})" if state else ""
    return PostgresError(f"Postgres: {message or type(error).__name__}{code}", hint=_hint(error, state, message))


def _hint(error: BaseException, state: str | None, message: str) -> str | None:
    if state is not None and state in _HINTS:
        return _HINTS[state]
    if state is None:
        for words, hint in _REFUSALS.items():
            if re.search(words, message):
                return hint
    is_down = is_transient(error) or isinstance(error, psycopg2.OperationalError)
    return "is Postgres up, and can it be reached at FC_POSTGRES_URL?" if is_down else None


def _sqlstate(error: BaseException) -> str | None:
    if isinstance(error, DBAPIError):
        return getattr(error.orig, "pgcode", None)
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _explained_by(error: BaseException) -> FcPipelineError:
    found = explained(error)
    if found is not error:
        found.__cause__ = error
    return found


class RetryBudget:
    """How long one operation is retried.

    With exponential backoff, until `seconds` (default: RETRY_BUDGET_SECONDS) after the first failure, or until
    abandoned.
    """

    def __init__(
        self,
        what: str,
        *,
        seconds: float | None = None,
        abandoned: threading.Event | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._what = what
        self._seconds = RETRY_BUDGET_SECONDS if seconds is None else seconds
        self._deadline: float | None = None
        self._abandoned = abandoned or threading.Event()
        self._should_stop = should_stop
        self._pause_seconds = FIRST_PAUSE_SECONDS

    def pause_after(self, error: BaseException) -> None:
        """Wait before the next attempt; raises PostgresError or SessionLost if the budget is used up."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        over = now + self._pause_seconds > self._deadline
        if not is_transient(error) or over or self._should_stop() or self._abandoned.is_set():
            raise _explained_by(error)
        _log.warning("postgres_again what=%r reason=%r", self._what, explained(error).message)
        if self._abandoned.wait(self._pause_seconds):
            raise _explained_by(error)
        self._pause_seconds = min(MAX_PAUSE_SECONDS, self._pause_seconds * 2)


def with_retries(
    what: str,
    work: Callable[[], T],
    *,
    reopen: Callable[[], None] = lambda: None,
    done: Callable[[], int] = lambda: 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> T:
    """Do work that resumes from what Postgres has; after a transient failure, `reopen` and retry.

    Retries without limit as long as `done` grows between failures, else for a RetryBudget.
    """
    retry_budget: RetryBudget | None = None
    done_before = 0
    while True:
        try:
            if retry_budget is not None:
                reopen()
            return work()
        except (SessionLost, *POSTGRES_ERRORS) as error:
            if retry_budget is None or done() > done_before:
                retry_budget = RetryBudget(what, should_stop=should_stop)
                done_before = done()
            retry_budget.pause_after(error)
