"""Handing over where the store takes a second for each listing: nobody waits for a listing who could write, nothing is
folded twice, and what is counted again is counted before anybody has to wait for it."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.run import MicroBatchRun
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.replica import Replica
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.logs import casts_at, log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

LISTING_SECONDS = 1.0
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class SlowListings(LakeStorage):
    """A store that takes a second for each listing, and notes what it was asked for while `look` saw something."""

    look: Callable[[], Any] = lambda: None
    listed: list[tuple[str, Any]] = field(default_factory=list)
    files_read: list[tuple[str, Any]] = field(default_factory=list)

    def _list(self, folder: str) -> list[fs.FileInfo]:
        self.listed.append((folder, self.look()))
        time.sleep(LISTING_SECONDS)
        return super()._list(folder)

    def read(self, path: str) -> Any:
        self.files_read.append((path, self.look()))
        return super().read(path)


def slow(bench: Workbench, look: Callable[[], Any]) -> tuple[Replica, SlowListings]:
    """The bench's replica with slow listings, for one run."""
    lake = LakeStorage.open(bench.replica.settings.lake_uri)
    storage = SlowListings(lake.filesystem, lake.root, look=look)
    return replace(bench.replica, log=EventLog(storage)), storage


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


def present() -> HourWindow:
    return HourWindow(Hour.of(time.time()), Hour.of(time.time()).next)


def until(look: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@contextmanager
def executing(run: MicroBatchRun, *, stop: bool = True) -> Iterator[list[BaseException]]:
    """The run in a thread; at the end of the block it has ended, asked to where `stop` says so."""
    failed: list[BaseException] = []
    over = threading.Event()
    run.should_stop = over.is_set

    def execute() -> None:
        try:
            run.execute()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=execute, name=run.run_id)
    thread.start()
    try:
        yield failed
    finally:
        if stop:
            over.set()
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


def heights(bench: Workbench, run_id: str) -> int:
    query = "SELECT coalesce(sum(to_height - from_height + 1), 0) AS n FROM pipeline.coverage WHERE run_id = :run_id"
    return bench.rows(query, run_id=run_id)[0].n


@pytest.mark.slow
def test_a_run_that_hands_over_folds_nothing_twice_and_its_successor_lists_before_it_takes_the_hour(
    live: Workbench, caplog: pytest.LogCaptureFixture
) -> None:
    """While the first run ends, its successor's newest file is in the log and not yet in the ledger."""
    caplog.set_level(logging.INFO, "fc_pipeline")

    def has_taken() -> bool:
        return bool(live.rows("SELECT FROM pipeline.leases WHERE holder LIKE 'second/%'"))

    def starts() -> bool:
        return has_taken() and not heights(live, "second")

    first, _ = slow(live, lambda: None)
    second, successor = slow(live, starts)
    ends = MicroBatchRun(first, "first", present(), live_outputs(), follow_seconds=0.1, overtime_seconds=3600.0)
    follows = MicroBatchRun(second, "second", present(), live_outputs(), follow_seconds=3600.0)
    with executing(ends, stop=False) as first_failed:
        until(lambda: heights(live, "first") > 4, "the first run writes nothing")
        with executing(follows) as second_failed:
            until(lambda: heights(live, "second") > 4 or bool(second_failed), "nobody has taken over")
            until(lambda: not any(thread.name == "first" for thread in threading.enumerate()), "it does not end")
            assert successor.listed
            assert [folder for folder, is_holding in successor.listed if is_holding] == []
    assert first_failed == second_failed == []
    said = [record.getMessage().split()[0] for record in caplog.records]
    assert "micro_batch" in said
    assert [word for word in said if word in {"refolded", "activity_replaced"}] == []
    assert len(live.ledger()) == 2  # no hole between the two


def live_outputs() -> tuple[str, ...]:
    return ("hub_events", *DATA_TABLES)


@pytest.mark.slow
def test_an_hour_that_is_counted_anew_while_it_is_followed_is_counted_outside_the_locks(live: Workbench) -> None:
    """Inside are at most one listing per shard, and files that were folded since the counting outside."""
    holds = (
        "SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted "
        "AND classid = 26211 AND objid IN (1, 2) AND application_name = 'fc_pipeline counts'"
    )
    replica, storage = slow(live, lambda: len(live.rows(holds)) == 2)
    with executing(live.make_run("follows", present(), follow_seconds=3600.0)) as failed:
        until(lambda: heights(live, "follows") > 60, "nothing is followed")
        before = {file.path for hour in live.replica.log.hours() for file in live.replica.log.files(hour)}
        hour = present().first
        counting = MicroBatchRun(replica, "counts", HourWindow(hour, hour), ["fid_activity"], rebuild=True)
        counting.execute()
        assert failed == []
    inside = [folder for folder, is_locked in storage.listed if is_locked]
    assert len(inside) == len(set(inside)) <= 2
    outside_read = {path for path, is_locked in storage.files_read if not is_locked}
    inside_read = {path for path, is_locked in storage.files_read if is_locked}
    assert before <= outside_read
    # The newest may have been listed, and not yet in the ledger, when it was counted outside: they are read again.
    assert not inside_read & before
    counted = live.dump("fid_activity")
    live.rebuild("fid_activity")
    assert live.dump("fid_activity") == counted
