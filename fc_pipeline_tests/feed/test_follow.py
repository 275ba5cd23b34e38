"""Following the feed: how large micro-batches become, who goes on when a run ends, and how it ends when asked to."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.sample_hub.live import Endless, Reveal
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import lease
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.following import executing, present, until
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench


def sizes(bench: Workbench) -> list[int]:
    """Events per micro-batch, which has a file each in the raw log."""
    log = bench.replica.log
    files = [file for hour in log.hours() for file in log.files(hour)]
    return [len(batch.raws) for file in files for batch in log.read([file])]


def appearing(blocks: int, seconds: float) -> tuple[EventLog, Reveal]:
    """A log of two events a block, of one shard, whose blocks appear evenly over so many seconds."""
    log = log_of(casts_at(every_second(500, HOUR_UNIX, blocks)))
    return log, Reveal(log, events_per_second=log.events / seconds, start_unix=time.time() - 0.2)


def test_a_micro_batch_that_has_its_size_does_not_wait_for_its_time(database: Database, tmp_path: Path) -> None:
    log, growth = appearing(blocks=200, seconds=2.0)
    with (
        serving(log, growth=growth) as url,
        workbench(database, tmp_path / "lake", url, batch_seconds=3600.0, batch_events=50) as bench,
    ):
        run = bench.make_run(follow_seconds=600.0)
        # The rest of what was there, what comes first and what is left at the end are committed as they are.
        follow_until(bench, run, lambda: sum(sizes(bench)) >= 300)
        assert len(sizes(bench)) > 4
        assert sum(size < 50 for size in sizes(bench)[:-1]) <= 2
        assert bench.ledger() == [(1, 500, 500 + sum(sizes(bench)) // 2 - 1)]


def follow_until(bench: Workbench, run: MicroBatchRun, enough: Callable[[], bool]) -> None:
    with executing(run) as failed:
        until(lambda: bool(failed) or enough(), str(sizes(bench)))
    assert failed == []


@pytest.mark.slow
def test_a_micro_batch_whose_time_is_over_does_not_wait_for_its_size(database: Database, tmp_path: Path) -> None:
    log, growth = appearing(blocks=200, seconds=6.0)
    with (
        serving(log, growth=growth) as url,
        workbench(database, tmp_path / "lake", url, batch_seconds=0.3, batch_events=1_000_000) as bench,
    ):
        run = bench.make_run(follow_seconds=600.0)
        follow_until(bench, run, lambda: sum(sizes(bench)) == log.events)
        assert len(sizes(bench)) > 2
        assert bench.ledger() == [(1, 500, 699)]


@pytest.fixture
def live(database: Database, tmp_path: Path) -> Iterator[Workbench]:
    """A replica of a hub that makes a block of two shards every second."""
    now = int(time.time())
    log = log_of(casts_at([(1000, now - 3)]), casts_at([(70, now - 3)], 2))
    with (
        serving(log, growth=Endless(log, events_per_second=40.0, start_unix=now - 2)) as url,
        workbench(database, tmp_path / "lake", url, batch_seconds=0.2) as bench,
    ):
        yield bench


def written_by(bench: Workbench, run_id: str) -> dict[int, tuple[int, int]]:
    """Per shard the heights that a run has covered, which are one range."""
    rows = bench.rows(
        "SELECT shard, min(from_height), max(to_height), sum(to_height - from_height + 1) FROM pipeline.coverage "
        "WHERE run_id = :run_id GROUP BY 1",
        run_id=run_id,
    )
    assert all(last - first + 1 == heights for _, first, last, heights in rows)
    return {shard: (first, last) for shard, first, last, _ in rows}


def test_a_run_goes_on_until_its_successor_is_ready_and_then_hands_over(live: Workbench) -> None:
    """Its time has long been over: between the two, nobody else writes, and nothing is read twice."""
    first = live.make_run("first", present(), follow_seconds=0.1, overtime_seconds=3600.0)
    second = live.make_run("second", present(), follow_seconds=3600.0)
    with executing(first) as first_failed:
        until(lambda: len(written_by(live, "first")) == 2, "the first run writes nothing")
        before = written_by(live, "first")
        until(lambda: written_by(live, "first")[1][1] > before[1][1] + 1, "the first run has ended on time")
        with executing(second) as second_failed:
            until(lambda: len(written_by(live, "second")) == 2, "nobody has taken over")
            assert not lease.successor_waits(live.replica.engine)
            holders = {row.holder.partition("/")[0] for row in live.rows("SELECT holder FROM pipeline.leases")}
            assert holders == {"second"}
    assert first_failed == second_failed == []
    for shard, (_, last) in written_by(live, "first").items():
        assert written_by(live, "second")[shard][0] == last + 1
    logged = live.logged()
    assert all(len(set(raws)) == len(raws) for raws in logged.values())
    assert live.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n == sum(map(len, logged.values()))


def test_a_run_without_overtime_ends_when_its_time_is_over(live: Workbench) -> None:
    run = live.make_run("alone", present(), follow_seconds=0.5)
    run.execute()
    assert written_by(live, "alone").keys() == {1, 2}
    assert live.rows("SELECT * FROM pipeline.leases") == []


def test_a_run_that_waits_for_another_ends_when_it_is_asked_to(live: Workbench) -> None:
    live.survey()
    with live.replica.engine.connect() as session:
        pid = session.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        for shard in (1, 2):
            for hour in (present().first, present().last):
                assert lease.try_take(
                    live.replica.engine, shard=shard, partition=hour.key, holder="other/1", backend_pid=pid
                )
        with executing(live.make_run("waits", present(), follow_seconds=600.0, lease_wait_seconds=3600.0)) as failed:
            until(lambda: lease.successor_waits(live.replica.engine), "it does not wait")
        assert failed == []
        assert not lease.successor_waits(live.replica.engine)
    assert live.ledger() == []


@pytest.mark.slow
def test_a_transaction_that_hangs_is_rolled_back_when_the_run_is_asked_to_stop(live: Workbench) -> None:
    """Another session holds the table's lock for good: the run does not wait for it."""
    with live.replica.engine.connect() as blocker:
        live.survey()
        blocker.exec_driver_sql("LOCK TABLE casts IN ACCESS EXCLUSIVE MODE")
        run = live.make_run("hangs", present(), follow_seconds=600.0)
        hanging = (
            "SELECT count(*) AS n FROM pg_stat_activity "
            "WHERE application_name = 'fc_pipeline hangs' AND wait_event_type = 'Lock'"
        )
        with executing(run) as failed:
            until(lambda: live.rows(hanging)[0].n == 1, "it hangs nowhere")
        assert failed == []
        blocker.rollback()
    assert live.ledger() == []
    assert live.rows("SELECT * FROM casts") == []
    assert live.rows("SELECT * FROM pipeline.leases") == []
    live.run("next", live.missing_span())
    assert live.logged()
