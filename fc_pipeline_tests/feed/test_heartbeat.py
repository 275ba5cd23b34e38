"""A run holds its leases by the clock, whatever it waits for; and no longer than its process runs."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.feed.heartbeat import LeaseHeartbeat
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.fold import session
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.store import lease
from fc_pipeline_tests.support.events import HOUR_UNIX, blocks_of, cast_add, event_batch, merge
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench, workbench

TIMEOUT_SECONDS = 30.0
HOUR = Hour(HOUR_UNIX)


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Workbench]:
    """A replica without a hub, of which no micro-batch is ever written."""
    with workbench(database, tmp_path / "lake", batch_seconds=3600.0) as made:
        yield made


def let_pass(bench: Workbench, seconds: float) -> None:
    """As if nobody had renewed a lease for so long."""
    with bench.replica.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE pipeline.leases SET heartbeat_at = now() - interval '{seconds} seconds'")


def ages(bench: Workbench) -> list[float]:
    """Seconds since each lease's heartbeat, by shard."""
    age = "extract(epoch FROM clock_timestamp() - heartbeat_at)::float"
    return [row.age for row in bench.rows(f"SELECT {age} AS age FROM pipeline.leases ORDER BY shard")]


def holders(bench: Workbench) -> list[str]:
    return [row.holder.partition("/")[0] for row in bench.rows("SELECT holder FROM pipeline.leases ORDER BY shard")]


def test_a_run_that_writes_no_micro_batch_keeps_its_leases(bench: Workbench) -> None:
    with BatchWriter(bench.replica, "waits", OUTPUTS, Progress(), renew_seconds=0.05) as writer:
        assert writer.hold(HOUR, [1, 2])
        let_pass(bench, 59)
        until(lambda: max(ages(bench)) < 50, "nobody renews the leases")
        with BatchWriter(bench.replica, "other", OUTPUTS, Progress()) as other:
            ended = iter([False, True])
            assert not other.hold(HOUR, [1, 2], unless=lambda: next(ended))
        assert holders(bench) == ["waits", "waits"]
    assert holders(bench) == []


def test_a_lease_that_another_run_has_taken_is_not_renewed_for_either(bench: Workbench) -> None:
    with (
        BatchWriter(bench.replica, "paused", OUTPUTS, Progress(), renew_seconds=3600.0) as paused,
        BatchWriter(bench.replica, "next", OUTPUTS, Progress(), renew_seconds=3600.0) as successor,
    ):
        assert paused.hold(HOUR, [1])
        let_pass(bench, 61)
        assert successor.hold(HOUR, [1])
        let_pass(bench, 30)
        renewed_by = [row.holder for row in bench.rows("SELECT holder FROM pipeline.leases")]
        lease.renew(bench.replica.engine, holder="paused/of another name")
        assert min(ages(bench)) > 29
        lease.renew(bench.replica.engine, holder=renewed_by[0])
        assert max(ages(bench)) < 29


def test_a_lease_that_a_transaction_locks_does_not_keep_the_others_from_being_renewed(bench: Workbench) -> None:
    with BatchWriter(bench.replica, "busy", OUTPUTS, Progress(), renew_seconds=3600.0) as writer:
        assert writer.hold(HOUR, [1, 2])
        let_pass(bench, 59)
        [holder] = {row.holder for row in bench.rows("SELECT holder FROM pipeline.leases")}
        with bench.replica.engine.begin() as transaction:
            transaction.exec_driver_sql("UPDATE pipeline.leases SET planned_end_at = now() WHERE shard = 1")
            lease.renew(bench.replica.engine, holder=holder)
            assert [age > 50 for age in ages(bench)] == [True, False]


def test_a_heartbeat_that_postgres_refuses_is_told_and_the_next_one_comes(
    bench: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    with FoldSession(bench.tables.url, "run", holder="run/1") as opened:
        assert lease.try_take(
            bench.replica.engine, shard=1, partition=HOUR.key, holder="run/1", backend_pid=opened.backend_pid
        )
        with bench.replica.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE pipeline.leases RENAME TO away")
        with LeaseHeartbeat(bench.replica.engine, "run/1", renew_seconds=0.05):
            until(lambda: "lease_not_renewed holder=run/1" in caplog.text, "nothing is said")
            with bench.replica.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE pipeline.away RENAME TO leases")
            let_pass(bench, 59)
            until(lambda: max(ages(bench)) < 50, "it has given up")


def test_a_transaction_that_takes_long_renews_its_lease_before_it_commits(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the lease sees the newest heartbeat when the lock on its row is gone."""
    monkeypatch.setattr(session, "RENEW_AFTER_SECONDS", 0.0)
    waiting = "SELECT FROM pg_stat_activity WHERE application_name LIKE '%slow' AND wait_event_type = 'Lock'"
    batch = event_batch(blocks_of([merge(cast_add(7, "text"))]))
    with BatchWriter(bench.replica, "slow", OUTPUTS, Progress(), renew_seconds=3600.0) as writer:
        assert writer.hold(HOUR, [1])
        stored = writer.store_new([writer.prepare(HOUR, batch)])
        with ThreadPoolExecutor(1) as threads, bench.replica.engine.connect() as blocker:
            blocker.execute(sa.text("LOCK TABLE public.casts IN ACCESS EXCLUSIVE MODE"))
            folding = threads.submit(writer.fold_new, stored)
            until(lambda: bool(bench.rows(waiting)), "nothing waits for the lock")
            late = bench.rows("SELECT clock_timestamp() AS at")[0].at
            blocker.rollback()
            folding.result()
        assert bench.rows("SELECT heartbeat_at FROM pipeline.leases")[0].heartbeat_at > late
