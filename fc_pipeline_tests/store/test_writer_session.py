"""The session of writers: transactions that are whole or not there, tried again, ended, and begun again."""

import time
from collections.abc import Iterator

import adbc_driver_manager
import pyarrow as pa
import pytest

from fc_pipeline.errors import PostgresError, SessionLost
from fc_pipeline.store.session import connect
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline_tests.support.postgres import Database

LINES = pa.table({"a": pa.array([1, 2], pa.int32())})
CREATE_KEPT = "CREATE TABLE IF NOT EXISTS public.kept (a int)"
CREATE_STAGE = "CREATE TEMPORARY TABLE stage_kept (a int) ON COMMIT DELETE ROWS"
KEEP = "INSERT INTO public.kept SELECT a FROM stage_kept"
COUNT = "SELECT count(*) FROM public.kept"


class Begin(Exception):
    """The transaction is to begin again."""


@pytest.fixture
def session(database: Database) -> Iterator[WriterSession]:
    made = WriterSession(database.url, "tested", on_open=lambda: prepare(made))
    made.open_through_faults()
    yield made
    made.close()


def prepare(session: WriterSession) -> None:
    session.execute(CREATE_KEPT)
    session.execute(CREATE_STAGE)


def keep(session: WriterSession) -> int:
    session.copy("stage_kept", LINES)
    session.execute(KEEP)
    return session.execute(COUNT)[0][0]


def count(session: WriterSession) -> int:
    return session.execute(COUNT)[0][0]


def test_it_carries_the_name_of_its_run(session: WriterSession) -> None:
    assert session.execute("SELECT current_setting('application_name')") == [("fc_pipeline tested",)]


def test_a_transaction_is_committed_or_only_looked_at(session: WriterSession) -> None:
    assert session.transaction(lambda: keep(session), commit=False) == 2
    assert count(session) == 0
    assert session.transaction(lambda: keep(session)) == 2
    assert count(session) == 2
    assert session.read(COUNT).to_pylist() == [{"count": 2}]


def test_nothing_is_left_of_one_that_fails_and_the_next_begins(session: WriterSession) -> None:
    def fail() -> None:
        keep(session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        session.transaction(fail)
    assert session.transaction(lambda: keep(session)) == 2


def test_it_is_tried_again_where_that_may_help(session: WriterSession) -> None:
    attempts: list[int] = []

    def write() -> int:
        attempts.append(keep(session))
        if len(attempts) == 1:
            raise Begin
        if len(attempts) == 2:
            session.execute("DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '40P01'; END $$")
        return len(attempts)

    assert session.retried_transaction(write, restart_on=Begin) == 3
    assert (attempts, count(session)) == ([2, 2, 2], 2)


def test_it_is_not_tried_again_where_that_is_of_no_use_or_abandoned(session: WriterSession) -> None:
    attempts: list[str] = []

    def fail(sqlstate: str) -> None:
        attempts.append(sqlstate)
        session.execute(f"DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '{sqlstate}'; END $$")

    with pytest.raises(PostgresError, match="as if"):
        session.retried_transaction(lambda: fail("42501"))
    session.abandon()
    with pytest.raises(PostgresError, match="as if"):
        session.retried_transaction(lambda: fail("40P01"))
    assert attempts == ["42501", "40P01"]


def test_a_lost_session_is_told_and_begun_anew(session: WriterSession, database: Database) -> None:
    session.lost = lambda: SessionLost("gone, as was said")
    ((pid,),) = session.execute("SELECT pg_backend_pid()")
    with connect(database.url) as admin, admin.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    admin.close()
    with pytest.raises(SessionLost, match="gone, as was said"):
        session.retried_transaction(lambda: keep(session))
    session.reopen()
    assert session.transaction(lambda: keep(session)) == 2


def test_one_that_may_only_read_still_stages(session: WriterSession, database: Database) -> None:
    reader = WriterSession(database.url, "reads", is_read_only=True, on_open=lambda: prepare(reader))
    reader.open()
    with pytest.raises(adbc_driver_manager.Error, match="read-only"):
        reader.transaction(lambda: keep(reader))
    assert reader.transaction(lambda: count(reader)) == 0
    reader.close()


def test_what_cannot_be_prepared_is_closed(session: WriterSession, database: Database) -> None:
    closed: list[str] = []

    def fail() -> None:
        failing.execute("SELECT pg_backend_pid()")
        raise ZeroDivisionError

    failing = WriterSession(database.url, "fails", on_open=fail, on_close=lambda: closed.append("told"))
    with pytest.raises(ZeroDivisionError):
        failing.open()
    assert closed == ["told"]
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fc_pipeline fails'"
    deadline = time.monotonic() + 30
    while session.execute(others) != [(0,)] and time.monotonic() < deadline:  # the server notices by itself
        time.sleep(0.01)
    assert session.execute(others) == [(0,)]
