"""Transactions of the writing connection: whole or not there, whatever was read and copied within and before."""

from collections.abc import Iterator

import adbc_driver_manager
import pyarrow as pa
import pytest

from fc_pipeline.store.writer_connection import WriterConnection
from fc_pipeline_tests.support.postgres import Database

LINE = pa.table({"a": pa.array([1], pa.int32())})


@pytest.fixture(params=["true", "false"])
def writer(request: pytest.FixtureRequest, database: Database) -> Iterator["Writer"]:
    connection = WriterConnection.open(database.url)
    yield Writer(connection, request.param)
    connection.close()


class Writer:
    """A connection, one cursor of it, and a table to write to."""

    def __init__(self, connection: WriterConnection, use_copy: str) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": use_copy})
        self.cursor.execute("CREATE TABLE kept (a int)")

    def copy(self) -> None:
        self.cursor.adbc_ingest("kept", LINE, mode="append")

    def count(self) -> int:
        self.cursor.execute("SELECT count(*) FROM kept")
        (row,) = self.cursor.fetchall()
        return row[0]


def test_nothing_is_left_of_what_was_rolled_back(writer: Writer):
    writer.count()
    writer.connection.begin()
    writer.copy()
    assert writer.count() == 1
    writer.copy()
    writer.cursor.execute("INSERT INTO kept VALUES (2)")
    writer.connection.rollback()
    assert writer.count() == 0


def test_what_was_committed_is_kept_by_a_rollback_of_the_next(writer: Writer):
    writer.connection.begin()
    writer.copy()
    writer.copy()
    writer.connection.commit()
    writer.connection.begin()
    writer.copy()
    writer.connection.rollback()
    assert writer.count() == 2


def test_a_failed_transaction_can_be_rolled_back_and_begun_anew(writer: Writer):
    writer.connection.begin()
    writer.copy()
    with pytest.raises(adbc_driver_manager.DataError):
        writer.cursor.execute("INSERT INTO kept SELECT 1/0 FROM kept")
    writer.connection.rollback()
    writer.connection.begin()
    writer.copy()
    writer.connection.commit()
    assert writer.count() == 1


def test_a_lost_session_is_told_by_the_rollback_too(writer: Writer, database: Database):
    writer.connection.begin()
    writer.copy()
    with database.engine.connect() as other:
        other.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    for step in (writer.count, writer.connection.rollback):
        with pytest.raises(adbc_driver_manager.Error):
            step()
