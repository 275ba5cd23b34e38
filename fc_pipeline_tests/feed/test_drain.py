import threading
import time
from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.errors import LeaseLost
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.progress import HourProgress
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.live import Reveal
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import lease
from fc_pipeline.store.bookkeeping import COVERAGE
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of, unconfirmed_casts_at
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

HOUR = Hour(HOUR_UNIX)


def whole(log: EventLog) -> list[tuple[int, int, int]]:
    """The heights of a log as a ledger shows them that covers all."""
    return [(n, shard.event_ids[0] >> 14, shard.event_ids[-1] >> 14) for n, shard in sorted(log.shards.items())]


def raws_of(log: EventLog) -> dict[int, list[bytes]]:
    return {number: list(shard.raws) for number, shard in log.shards.items()}


def reference(lines: list[bytes], database: Database, lake: Path) -> dict[str, list[str]]:
    """The tables after one plain run over the whole log."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()
        return bench.dump()


def batches_of(bench: Workbench) -> list[int]:
    """Events per file of the raw log, which is one per micro-batch."""
    log = bench.replica.log
    return [len(b.raws) for hour in log.hours() for f in log.files(hour) for b in log.read([f])]


def test_the_raw_log_is_the_hubs_log_byte_for_byte(database: Database, lake: Path, lines: list[bytes]) -> None:
    log = log_from_lines(lines)
    with serving(log) as url, workbench(database, lake, url) as bench:
        progress = bench.run()
        assert bench.ledger() == whole(log)
        assert bench.logged() == raws_of(log)
        assert progress.events == log.events == len(lines)


def test_an_hour_is_cut_where_it_ends(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        progress = bench.run()
        assert [hour.hour for hour in progress.hours] == [HOUR, HOUR.next]
        for shard in (1, 2):
            first, second = (bench.replica.log.files(hour, shard) for hour in (HOUR, HOUR.next))
            assert first[-1].to_height + 1 == second[0].from_height
        for hour in (HOUR, HOUR.next):
            for batch in bench.replica.log.read(bench.replica.log.files(hour, 1)):
                assert all(hour.contains(unix) for unix in batch.block_times.values())
        rows = bench.rows("SELECT DISTINCT hour FROM fid_activity ORDER BY 1")
        assert [row.hour for row in rows] == [HOUR.start, HOUR.next.start]


@pytest.mark.slow
@pytest.mark.parametrize("order", [[0, 1], [1, 0]], ids=["oldest first", "newest first"])
def test_hours_read_one_by_one_in_any_order_give_the_same(
    database: Database, other_database: Database, tmp_path: Path, lines: list[bytes], order: list[int]
) -> None:
    expected = reference(lines, other_database, tmp_path / "other")
    hours = [HOUR, HOUR.next]
    with serving(log_from_lines(lines)) as url, workbench(database, tmp_path / "lake", url) as bench:
        for index in order:
            progress = bench.run(f"run {index}", HourWindow(hours[index], hours[index]))
            assert [hour.hour for hour in progress.hours] == [hours[index]]
        assert bench.dump() == expected
        assert bench.missing_hours() == []


@pytest.mark.slow
def test_micro_batches_are_of_the_size_that_is_asked_for(
    database: Database, other_database: Database, tmp_path: Path, lines: list[bytes]
) -> None:
    expected = reference(lines, other_database, tmp_path / "other")
    log = log_from_lines(lines)
    largest_block = 100
    with serving(log) as url, workbench(database, tmp_path / "lake", url, batch_events=200) as bench:
        seen: list[int] = []
        progress = bench.run(report=lambda hours: seen.extend(hour.micro_batches for hour in hours))
        sizes = batches_of(bench)
        assert max(sizes) < 2 * 200 + largest_block
        assert sum(sizes) / len(sizes) > 150
        assert sum(hour.micro_batches for hour in progress.hours) == len(sizes) == sum(seen)
        assert bench.dump() == expected


def test_a_second_run_over_the_same_window_writes_nothing(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        window = bench.missing_span()
        bench.run("first", window)
        before = bench.dump(), bench.rows("SELECT * FROM pipeline.coverage"), batches_of(bench)
        assert bench.run("second", window).events == 0
        assert (bench.dump(), bench.rows("SELECT * FROM pipeline.coverage"), batches_of(bench)) == before
        assert bench.rows("SELECT * FROM pipeline.leases") == []


def test_following_folds_what_becomes_visible_meanwhile(database: Database, lake: Path) -> None:
    """The log is revealed in five seconds, of a run that follows it and so meets its tip again and again."""
    places = every_second(500, HOUR_UNIX, 300)
    blocks = [(casts_at([(height, unix)]), casts_at([(height - 450, unix)], 2)) for height, unix in places]
    log = log_of(*(block for pair in blocks for block in pair))
    growth = Reveal(log, events_per_second=log.events / 5, start_unix=time.time() - 0.2)
    with serving(log, growth=growth) as url, workbench(database, lake, url, batch_seconds=0.2) as bench:
        reported: list[HourProgress] = []
        run = bench.make_run(follow_seconds=60.0, report=reported.extend, report_seconds=0.3)
        run.should_stop = lambda: run.progress.events == log.events
        run.execute()
        assert bench.ledger() == whole(log)
        assert bench.logged() == raws_of(log)
        assert len(reported) > 2
        assert bench.survey().shards[0].holes == ()
        texts = bench.rows("SELECT count(*) AS n FROM casts WHERE deleted_at IS NULL")
        assert texts[0].n == 600


class Appearing:
    """Growth that shows the first blocks at once and the others, their times as they are, once a run has begun."""

    def __init__(self, log: EventLog, *, blocks_per_second: float = 60.0) -> None:
        self._rate = blocks_per_second
        self._shown = 0
        self._since: float | None = None
        for shard in log.shards.values():
            shard.hide_all()

    def begin(self) -> None:
        self._since = self._since or time.monotonic()

    def advance(self, log: EventLog, now_unix: float) -> None:
        due = 5 + int((time.monotonic() - self._since) * self._rate) if self._since else 5
        shard = log.shards[1]
        while self._shown < due and (block := shard.hidden_block()) is not None:
            shard.reveal(block)
            self._shown += 1


def over_the_hour(now: float) -> tuple[Hour, Hour, EventLog]:
    """The present hour and the next one, and 80 blocks of which the first half is in the present hour."""
    boundary = Hour.of(now).next
    places = [(height, boundary.start_unix - 40 + height - 100) for height in range(100, 180)]
    return Hour.of(now), boundary, log_of(casts_at(places))


def test_the_hour_may_end_while_a_run_follows(database: Database, lake: Path) -> None:
    present, following, log = over_the_hour(time.time())
    growth = Appearing(log)
    with serving(log, growth=growth) as url, workbench(database, lake, url, batch_seconds=0.1) as bench:
        run = bench.make_run(window=HourWindow(present, present), follow_seconds=60.0)

        def all_is_there() -> bool:
            if run.progress.events:  # by then it has seen where the hub's head was
                growth.begin()
            return run.progress.events == 160

        run.should_stop = all_is_there
        assert [hour.hour for hour in run.execute().hours] == [present, following]
        assert bench.ledger() == [(1, 100, 179)]
        rows = bench.rows("SELECT partition, from_height, to_height FROM pipeline.coverage ORDER BY 2")
        assert [tuple(row) for row in rows] == [(present.key, 100, 139), (following.key, 140, 179)]
        assert bench.rows("SELECT * FROM pipeline.leases") == []


def test_at_the_hours_end_the_next_run_takes_over(database: Database, lake: Path) -> None:
    """The first run ends well where another one holds the next hour; together they leave no hole."""
    present, following, log = over_the_hour(time.time())
    growth = Appearing(log)
    with serving(log, growth=growth) as url, workbench(database, lake, url, batch_seconds=0.1) as bench:
        with bench.replica.engine.connect() as session:
            pid = session.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            engine = bench.replica.engine
            assert lease.try_take(engine, shard=1, partition=following.key, holder="next/1", backend_pid=pid)
            run = bench.make_run("first", HourWindow(present, present), follow_seconds=600.0)
            run.should_stop = lambda: bool(run.progress.events and growth.begin())
            assert [hour.hour for hour in run.execute().hours] == [present]
            assert bench.ledger() == [(1, 100, 139)]
            lease.release(engine, holder="next/1")
        second = bench.make_run("next", HourWindow(following, following), follow_seconds=60.0)
        second.should_stop = lambda: second.progress.events == 80
        second.execute()
        assert bench.ledger() == [(1, 100, 179)]


def test_a_hub_that_stands_still_is_not_followed(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run(follow_seconds=3600.0)
        assert bench.missing_hours() == []


@pytest.mark.slow
def test_a_run_that_is_told_to_stop_ends_between_micro_batches_and_another_goes_on(
    database: Database, other_database: Database, tmp_path: Path, lines: list[bytes]
) -> None:
    expected = reference(lines, other_database, tmp_path / "other")
    with (
        serving(log_from_lines(lines)) as url,
        workbench(database, tmp_path / "lake", url, batch_events=100) as bench,
    ):
        window = bench.missing_span()
        run = bench.make_run("stopped", window)
        run.should_stop = lambda: run.progress.events >= 500
        run.execute()
        assert 500 <= run.progress.events < len(lines)
        assert bench.missing_hours() != []
        assert bench.rows("SELECT * FROM pipeline.leases") == []
        bench.run("goes on")
        assert bench.dump() == expected
        assert bench.missing_hours() == []


@pytest.mark.usefixtures("no_pauses")
def test_a_poisoned_event_is_quarantined_and_everything_else_lands(
    database: Database, other_database: Database, tmp_path: Path, lines: list[bytes]
) -> None:
    log = log_from_lines(lines)
    shard = log.shards[1]
    poison = {shard.event_ids[len(shard.event_ids) // 2], shard.event_ids[-1]}
    lost = {raw for event_id, raw in zip(shard.event_ids, shard.raws, strict=True) if event_id in poison}
    without = [line for line in lines if line not in lost]
    with serving(log, poison_event_ids=poison) as url, workbench(database, tmp_path / "lake", url) as bench:
        bench.run()
        assert bench.ledger() == whole(log)
        poisoned = {(n, event_id) for n, event_id, reason in bench.quarantine() if reason == "poison_page"}
        assert poisoned == {(1, event_id) for event_id in poison}
        assert bench.logged()[1] == [raw for raw in shard.raws if raw not in lost]
        tables = bench.dump()
        # The database is lost, the lake is not: what the hub could not send is still known.
        quarantine = bench.quarantine()
        bench.tables.empty()
        bench.rebuild()
        assert bench.dump() == tables
        assert bench.quarantine() == quarantine
    assert tables == reference(without, other_database, tmp_path / "other")


def test_a_hub_without_the_window_leaves_a_hole(database: Database, lake: Path) -> None:
    """The hub forgets blocks between the survey and the reading: what is not there is not covered."""
    log = log_of(casts_at(every_second(500, HOUR_UNIX, 60)))
    faults = Faults()
    with serving(log, faults=faults) as url, workbench(database, lake, url) as bench:
        window = bench.missing_span()
        faults.pruned_before_height[1] = 520
        bench.run(window=window)
        assert bench.ledger() == [(1, 520, 559)]
        assert bench.survey().shards[0].lost[0].first == 500


def execute_together(*runs: Any) -> list[BaseException | None]:
    """Run all at once; what each ended with."""
    ends: list[BaseException | None] = [None] * len(runs)

    def execute(index: int) -> None:
        try:
            runs[index].execute()
        except BaseException as error:
            ends[index] = error

    threads = [threading.Thread(target=execute, args=(index,)) for index in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_two_runs_at_once_fold_everything_once(
    database: Database, other_database: Database, tmp_path: Path, lines: list[bytes]
) -> None:
    expected = reference(lines, other_database, tmp_path / "other")
    log = log_from_lines(lines)
    with serving(log) as url, workbench(database, tmp_path / "lake", url, batch_events=150) as bench:
        window = bench.missing_span()
        runs = [bench.make_run(f"run {n}", window) for n in range(3)]
        assert execute_together(*runs) == [None, None, None]
        assert sum(run.progress.events for run in runs) == len(lines)
        assert bench.dump() == expected
        assert bench.ledger() == whole(log)
        events = bench.rows("SELECT sum(events) AS events FROM pipeline.coverage")
        assert events[0].events == len(lines)


def test_a_run_that_finds_the_hour_taken_says_by_whom(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        window = bench.missing_span()
        with bench.replica.engine.connect() as session:
            pid = session.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            assert lease.try_take(
                bench.replica.engine, shard=2, partition=HOUR.key, holder="somebody/1", backend_pid=pid
            )
            with pytest.raises(LeaseLost, match=r"shard 2, hour .* is being written by run somebody .*wait until"):
                bench.run(window=window, lease_wait_seconds=0.3)
            assert bench.ledger() == []
        # The other run's session has gone: it is dead, and its lease is free.
        bench.replica.engine.dispose()
        bench.run(window=window)
        assert bench.missing_hours() == []


def test_a_run_does_not_wait_for_an_hour_that_another_completes_meanwhile(
    database: Database, lake: Path, lines: list[bytes]
) -> None:
    """As `sync` beside a run that follows: what it was started for is read, and the lease stays where it is."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        window = bench.missing_span()
        with bench.replica.engine.connect() as session:
            pid = session.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            run = bench.make_run("waits", window)
            failed: list[BaseException] = []

            def wait() -> None:
                try:
                    run.execute()
                except BaseException as error:
                    failed.append(error)

            bench.run("writes", window)
            with bench.replica.engine.begin() as connection:
                taken = connection.exec_driver_sql("DELETE FROM pipeline.coverage RETURNING *").mappings().all()
            for shard in (1, 2):
                engine = bench.replica.engine
                assert lease.try_take(engine, shard=shard, partition=HOUR.key, holder="writes/1", backend_pid=pid)
            waiting = threading.Thread(target=wait)
            waiting.start()
            waiting.join(1.0)
            assert waiting.is_alive()
            with bench.replica.engine.begin() as connection:
                connection.execute(COVERAGE.insert(), [dict(row) for row in taken])
            waiting.join(20.0)
            assert not waiting.is_alive()
        assert failed == []
        assert run.progress.events == 0


@pytest.mark.slow
def test_a_run_whose_lease_was_stolen_writes_nothing_more(
    database: Database, other_database: Database, tmp_path: Path, lines: list[bytes]
) -> None:
    expected = reference(lines, other_database, tmp_path / "other")
    with (
        serving(log_from_lines(lines)) as url,
        workbench(database, tmp_path / "lake", url, batch_events=100) as bench,
    ):
        window = bench.missing_span()
        run = bench.make_run("robbed", window)
        stolen: list[list[tuple[int, int, int]]] = []

        def steal() -> bool:
            if run.progress.events > 300 and not stolen:
                with bench.replica.engine.begin() as connection:
                    connection.exec_driver_sql("UPDATE pipeline.leases SET holder = 'thief/1'")
                stolen.append(bench.ledger())
            return False

        run.should_stop = steal
        with pytest.raises(LeaseLost, match=r"run robbed no longer holds the lease .*another run has taken over"):
            run.execute()
        # A micro-batch that was being committed right then may be in; none that began later is.
        events = sum(len(batch) for batch in bench.logged().values())
        folded = bench.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n
        assert folded < events < len(lines)
        holders = {row.holder for row in bench.rows("SELECT holder FROM pipeline.leases")}
        assert holders == {"thief/1"}
        with bench.replica.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM pipeline.leases")
        bench.run("next")
        assert bench.dump() == expected


def test_a_past_hour_without_blocks_asks_for_no_lease(database: Database, lake: Path) -> None:
    """The next block is hours later, in an hour that another run is writing."""
    places = [(100, HOUR_UNIX), (101, HOUR_UNIX + 3 * 3600)]
    with serving(log_of(casts_at(places))) as url, workbench(database, lake, url) as bench:
        bench.survey()
        with bench.replica.engine.connect() as session:
            pid = session.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            later = Hour.of(places[1][1])
            engine = bench.replica.engine
            assert lease.try_take(engine, shard=1, partition=later.key, holder="somebody/1", backend_pid=pid)
            bench.run(window=HourWindow(HOUR.next, HOUR.next))
            assert bench.ledger() == []
            bench.run(window=HourWindow(HOUR, HOUR))
            assert bench.ledger() == [(1, 100, 100)]


def test_a_failure_is_reported_with_what_was_committed_before_it(
    database: Database, lake: Path, lines: list[bytes]
) -> None:
    reported: list[HourProgress] = []
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url, batch_events=100) as bench:
        run = bench.make_run(report=reported.extend)

        def break_down() -> bool:
            if run.progress.events > 200:
                raise ConnectionError("the network is gone")
            return False

        run.should_stop = break_down
        with pytest.raises(ConnectionError):
            run.execute()
        folded = bench.rows("SELECT sum(events) AS n FROM pipeline.coverage")[0].n
        assert sum(hour.events for hour in reported) == folded > 200


def test_a_log_without_block_confirmed_is_read_whole(database: Database, lake: Path) -> None:
    heights = [100, 101, 105, 106, 120, 121]
    log = log_of(unconfirmed_casts_at(heights), unconfirmed_casts_at([7, 9, 40], 2))
    with serving(log) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert bench.ledger() == [(1, 100, 121), (2, 7, 40)]
        assert bench.logged() == raws_of(log)
