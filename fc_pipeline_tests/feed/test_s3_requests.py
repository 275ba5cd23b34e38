"""What an hour of following costs in a store that is paid by the request: a micro-batch a second, two shards.

An hour is too long for a test. It is made of parts that repeat: what each takes is counted at a local S3 server, done
by the code that does it in production, and multiplied by how often an hour has it.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.run import COMPACTED_DAYS, MicroBatchRun, compact_finished_hours
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.hours import Hour
from fc_pipeline.lake.recent_files import JOINED_FILES
from fc_pipeline.orchestration.checks.raw_log import evaluate_files, evaluate_raw_log
from fc_pipeline.reconcile.log_comparison import compare_with_log
from fc_pipeline.repair.raw_log import REPAIRABLE_HOURS
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status import health
from fc_pipeline.status.log_files import READ_FILES
from fc_pipeline.store import ledger
from fc_pipeline.store.ledger import ShardOrigin
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.feed.test_hand_over import executing, heights, present, until
from fc_pipeline_tests.support.events import FIRST_HEIGHT, blocks_of, cast_add, event_batch, merge
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.logs import casts_at, log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.s3_server import S3Server, s3_server
from fc_pipeline_tests.support.workbench import OUTPUTS, Workbench

MAX_REQUESTS_PER_HOUR = 12_000
SHARDS = (1, 2)
BATCHES_PER_HOUR = 3600 * len(SHARDS)
RUNS_PER_HOUR = 12
"""FC_FOLLOW_SECONDS is 300."""
REPORTED_PER_HOUR = 60
"""REPORT_SECONDS is 60: a follower reports its hour, and evaluates the raw log."""
CHECKED_PER_HOUR = 4
"""The schedule regular_checks."""
NEWEST_HOURS = 6
"""Whose events are compared at 25,000 an hour, which is the network's pace: a joined file of each shard."""
PAGES_OF_A_YEAR = math.ceil(365 * 24 * len(SHARDS) / 1000)
GROUPS_PER_HOUR = BATCHES_PER_HOUR // JOINED_FILES + RUNS_PER_HOUR * len(SHARDS)
"""Of files that a follower joins: one a minute, and what is left at its end."""


@dataclass
class Bill:
    """Requests of an hour, by what they are for."""

    lines: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, what: str, counted: Counter[str], times: float) -> None:
        self.lines[what] = counted.total() * times

    def __str__(self) -> str:
        return "\n".join(f"{requests:10,.1f}  {what}" for what, requests in self.lines.items())


@pytest.fixture
def s3() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


def settings_of(database: Database, lake_uri: str, tmp_path: Path, *hub_urls: str) -> Settings:
    return Settings(
        data_dir=tmp_path, lake_uri=lake_uri, postgres_url=database.url, hub_urls=hub_urls, batch_seconds=0.2
    )


def counted(s3: S3Server, work: Callable[[], object]) -> Counter[str]:
    s3.count()
    work()
    return s3.count()


def write_groups(replica: Replica, hour: Hour, groups: int) -> None:
    """Micro-batches of a block each, of both shards, as a follower writes them; the lease was taken by nobody else."""
    with BatchWriter(replica, "follows", OUTPUTS, Progress(), joins_files=True) as writer:
        writer.hold(hour, SHARDS)
        for number in range(groups * JOINED_FILES):
            for shard in SHARDS:
                blocks = blocks_of(
                    [merge(cast_add(7, f"text {number}"))], shard=shard, first_height=FIRST_HEIGHT + number
                )
                stored = writer.store_new([writer.prepare(hour, event_batch(blocks, shard=shard))])
                writer.fold_new(stored)
                writer.join_files(stored.files_to_join)


def hand_over(bench: Workbench, s3: S3Server, caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """What a run asks for beside its micro-batches and what it joins, from its start to its end after handing over."""
    second = MicroBatchRun(bench.replica, "second", present(), OUTPUTS, follow_seconds=3600.0)
    first = MicroBatchRun(bench.replica, "first", present(), OUTPUTS, follow_seconds=0.1, overtime_seconds=3600.0)
    s3.count()
    caplog.clear()
    with executing(first, stop=False) as failed:
        until(lambda: heights(bench, "first") > 6, "nothing is followed")
        with executing(second) as failed_too:
            until(lambda: heights(bench, "second") > 2, "nobody has taken over")
        assert failed_too == []
    assert failed == []
    asked = s3.count()
    said = [record.getMessage().split()[0] for record in caplog.records]
    joined = said.count("joined_files")
    asked["PUT object"] -= said.count("micro_batch") + joined
    asked["POST delete"] -= joined
    assert min(asked.values()) >= 0
    return asked


@pytest.mark.slow
def test_an_hour_takes_no_more_requests_than_are_paid_for(
    database: Database, other_database: Database, s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fc_pipeline")
    bill = Bill()
    hour = Hour(Hour.of(time.time()).start_unix - 2 * 3600)
    with open_replica(settings_of(database, s3.uri("lake"), tmp_path)) as replica:
        with replica.engine.begin() as connection:
            for shard in SHARDS:
                ledger.record_origin(connection, ShardOrigin(shard, FIRST_HEIGHT, hour.start, len(SHARDS)))
        asked = counted(s3, lambda: write_groups(replica, hour, groups=2))
        batches = 2 * JOINED_FILES * len(SHARDS)
        groups = 2 * len(SHARDS)
        assert asked == Counter({"PUT object": batches + groups, "POST delete": groups})
        bill.add("micro-batches", Counter({"PUT object": 1}), BATCHES_PER_HOUR)
        bill.add("joining them", Counter({"PUT object": 1, "POST delete": 1}), GROUPS_PER_HOUR)

        asked = counted(s3, lambda: MicroBatchRun(replica, "closes", HourWindow(hour, hour), OUTPUTS).compact())
        per_shard = Counter({"GET list": 1, "PUT object": 1, "POST delete": 1})
        assert asked == Counter({name: n * len(SHARDS) for name, n in per_shard.items()}) + Counter(
            {"GET object": groups}
        )
        bill.add("closing an hour", per_shard, len(SHARDS))
        bill.add("reading what is joined then", Counter({"GET object": 1}), GROUPS_PER_HOUR)

        asked = counted(s3, lambda: health.lost_of(replica, [hour], reading=True))
        bill.add("daily: files read", asked, REPAIRABLE_HOURS / 24)
        asked = counted(s3, lambda: compact_finished_hours(replica))
        assert asked == Counter({"GET list": len(SHARDS)})
        bill.add("daily: compaction", asked, COMPACTED_DAYS)

        asked = counted(s3, lambda: evaluate_files(replica))
        assert asked == Counter({"GET list": 1, "GET object": len(SHARDS)})  # a page of a thousand files, and each file
        bill.add("checks by schedule: listing", Counter({"GET list": PAGES_OF_A_YEAR}), CHECKED_PER_HOUR)
        bill.add("checks by schedule: reading", Counter({"GET object": READ_FILES}), CHECKED_PER_HOUR)

        asked = counted(s3, lambda: compare_with_log(replica, tuple(DATA_TABLES)))
        assert asked["GET object"] == len(SHARDS)
        bill.add("checks of rows", asked, CHECKED_PER_HOUR * NEWEST_HOURS)
        asked = counted(s3, lambda: replica.log.files(hour))
        bill.add("reports: bytes of the hour", asked, REPORTED_PER_HOUR)

        def ticks() -> None:
            for _ in range(10):
                with open_replica(replica.settings):
                    pass

        asked = counted(s3, ticks)
        assert asked == Counter()
        bill.add("ticks of sensors", asked, 3600)

    now = int(time.time())
    log = log_of(casts_at([(1000, now - 3)]), casts_at([(1000, now - 3)], 2))
    with (
        serving(log, growth=Endless(log, events_per_second=40.0, start_unix=now - 2)) as url,
        open_replica(settings_of(other_database, s3.uri("live"), tmp_path, url)) as replica,
    ):
        bench = Workbench(replica, FoldedDatabase(other_database.url, replica.engine))
        bill.add("hand-overs", hand_over(bench, s3, caplog) + Counter({"GET object": 1}), RUNS_PER_HOUR)
        asked = counted(s3, lambda: list(evaluate_raw_log(replica)))
        bill.add("checks of the raw log", asked, REPORTED_PER_HOUR + CHECKED_PER_HOUR)

    print(bill)
    assert sum(bill.lines.values()) <= MAX_REQUESTS_PER_HOUR, str(bill)
