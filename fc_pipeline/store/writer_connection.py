"""An ADBC connection whose transactions are begun and ended by us.

Left to itself the driver begins one before the first statement; but it does not read the answer to a COPY to its end,
and then mistakes the session's state: it begins again after every COPY (1.13), at the cost of a round trip and of a
warning in the server's log, or takes a transaction that was never begun for one that goes on (1.12): nothing is atomic.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

import adbc_driver_manager

from fc_pipeline.store.session import SESSION, address, pinning, require_utf8, with_connection_slot

if TYPE_CHECKING:
    import adbc_driver_postgresql.dbapi as adbc

__all__ = ["WriterConnection"]

_ENCODING: Final = "SELECT current_setting('server_encoding'), current_database()"
_BEGIN: Final = "BEGIN"
_COMMIT: Final = "COMMIT"
_ROLLBACK: Final = "ROLLBACK"


class WriterConnection:
    """One connection. Between `begin` and `commit` or `rollback` all statements are one transaction, else each is one.

    Not for several threads at once. Every method raises adbc_driver_manager.Error.
    """

    def __init__(self, connection: "adbc.Connection") -> None:
        self._connection = connection

    @classmethod
    def open(cls, libpq_url: str, **settings: str) -> Self:
        """Connect. `settings` hold in the session above store.session.SESSION. Raises as store.session.connect, too."""
        import adbc_driver_postgresql.dbapi as adbc  # it brings pandas: half a second, for commands that write nothing

        connection = with_connection_slot(lambda: adbc.connect(address(libpq_url), autocommit=True))
        try:
            with connection.cursor() as cursor:
                cursor.execute(_ENCODING)
                require_utf8(*(cursor.fetchone() or ("unknown", "unknown")))
                wanted = {**SESSION, **settings}
                cursor.execute(pinning(wanted, [f"${n}" for n in range(1, len(wanted) + 1)]), tuple(wanted.values()))
                cursor.fetchall()
        except BaseException:
            with suppress(adbc_driver_manager.Error):
                connection.close()
            raise
        return cls(connection)

    def cursor(self) -> "adbc.Cursor":
        """A new cursor."""
        return self._connection.cursor()

    def begin(self) -> None:
        """Begin a transaction."""
        self._run(_BEGIN)

    def commit(self) -> None:
        """Commit it."""
        self._run(_COMMIT)

    def rollback(self) -> None:
        """Roll it back: also one that has failed, or whose beginning did."""
        self._run(_ROLLBACK)

    def close(self) -> None:
        """Close the connection, and with it what was not committed."""
        self._connection.close()

    def _run(self, statement: str) -> None:
        # Not by a cursor, which Ctrl-C would cancel half way.
        with adbc_driver_manager.AdbcStatement(self._connection.adbc_connection) as running:
            running.set_sql_query(statement)
            running.execute_update()
