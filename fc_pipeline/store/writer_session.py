"""The session of Postgres through which rows are written: COPY into staging tables, then SQL, in one transaction."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import adbc_driver_manager
import pyarrow as pa
import sqlalchemy as sa

from fc_pipeline.errors import SessionLost
from fc_pipeline.store import counts
from fc_pipeline.store.query import numbered
from fc_pipeline.store.retry import RetryBudget, with_retries
from fc_pipeline.store.writer_connection import WriterConnection

__all__ = ["MAX_IDLE_TRANSACTION_SECONDS", "WriterSession"]

T = TypeVar("T")

MAX_IDLE_TRANSACTION_SECONDS: Final = 30
"""A run that stands still inside a transaction, such as a paused one, loses its session and so the locks that others
wait for: sooner than its lease runs out."""

MAX_NAME_BYTES: Final = 63
_READ_ONLY: Final = "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"


def _nothing() -> None: ...


def _lost() -> SessionLost:
    return SessionLost("the Postgres session is gone: the server was restarted, or the connection cut")


@dataclass
class WriterSession:
    """One ADBC connection and its cursor. Not for several threads at once.

    `run_id` names the session in pg_stat_activity; `settings` hold in it above store.session.SESSION. `on_open`
    prepares each new session, such as its staging tables, in a transaction of its own; `on_close` is called before it
    is closed. One that `is_read_only` can write nothing but temporary tables once it is prepared. `lost` makes the
    error that is raised where the session is gone. With `reads_by_copy` the driver wraps what it reads in COPY, which
    takes no EXECUTE.
    """

    libpq_url: str = field(repr=False)
    run_id: str = ""
    on_open: Callable[[], None] = _nothing
    on_close: Callable[[], None] = _nothing
    lost: Callable[[], SessionLost] = _lost
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    reads_by_copy: bool = True
    is_read_only: bool = False
    _abandoned: threading.Event = field(default_factory=threading.Event, init=False, repr=False)

    def open(self) -> None:
        """Connect and prepare the session. Raises as WriterConnection.open."""
        name = f"fc_pipeline {self.run_id}".strip()[:MAX_NAME_BYTES]
        self._connection = WriterConnection.open(self.libpq_url, application_name=name, **self.settings)
        self._cursor = self._connection.cursor()
        try:
            if not self.reads_by_copy:
                self._cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            self._connection.begin()
            for statement in counts.CREATE_STAGING:
                self.execute(statement)
            self.on_open()
            self._connection.commit()
            if self.is_read_only:
                self.execute(_READ_ONLY)
        except BaseException:
            self.close()
            raise

    def open_through_faults(self) -> None:
        """The same, tried again for a while where Postgres does not answer."""
        with_retries(f"the session of run {self.run_id}", self.open)

    def reopen(self) -> None:
        """Begin a new session after this one was lost."""
        self.close()
        self.open()

    def close(self) -> None:
        """End the session, and with it what was not committed."""
        self.on_close()
        self._cursor.close()
        self._connection.close()

    def abandon(self) -> None:
        """Try nothing again from now on. May be called from another thread."""
        self._abandoned.set()

    def transaction(self, work: Callable[[], T], *, commit: bool = True) -> T:
        """Do the work in one transaction, which is committed or, with `commit` false, rolled back: what it gave.

        Rolled back where it fails; raises SessionLost where the session is gone by then.
        """
        try:
            self._connection.begin()
            found = work()
            if commit:
                self.execute(counts.ADD_CHANGES)
                self._connection.commit()
            else:
                self._connection.rollback()
        except BaseException as error:
            self._roll_back(error)
            raise
        return found

    def retried_transaction(self, work: Callable[[], T], *, restart_on: type[Exception] | tuple[()] = ()) -> T:
        """The same, tried again: at once on `restart_on`, and for a while (store.retry) where its failure may pass.

        Raises PostgresError where that did not help, SessionLost where the session is gone.
        """
        retry_budget = RetryBudget(f"a transaction of run {self.run_id}", abandoned=self._abandoned)
        while True:
            try:
                return self.transaction(work)
            except restart_on:
                continue
            except adbc_driver_manager.Error as error:
                retry_budget.pause_after(error)

    def copy(self, staging: str, rows: pa.Table) -> None:
        """COPY rows into a temporary table, whose columns are named like theirs."""
        if len(rows):
            self._cursor.adbc_ingest(staging, rows, mode="append", temporary=True)

    def copy_into(self, schema: str, table: str, rows: pa.Table) -> None:
        """COPY rows into a table, whose columns are named like theirs; others get their defaults."""
        if len(rows):
            self._cursor.adbc_ingest(table, rows, mode="append", db_schema_name=schema)

    def execute(self, statement: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement with `$1`…; its rows."""
        self._cursor.execute(statement, parameters)
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def query(self, statement: sa.TextClause, /, **parameters: Any) -> Sequence[tuple[Any, ...]]:
        """Execute a statement with named parameters (store.query); its rows."""
        text, names = numbered(statement)
        return self.execute(text, tuple(parameters[name] for name in names) or None)

    def read(self, statement: str) -> pa.Table:
        """Execute a statement; its rows as Arrow."""
        self._cursor.execute(statement)
        return self._cursor.fetch_arrow_table()

    def _roll_back(self, cause: BaseException) -> None:
        try:
            self._connection.rollback()
        except adbc_driver_manager.Error:
            raise self.lost() from cause
