"""Whether the replica moves while the hub does: evaluated of numbers, and of real hubs with their faults."""

import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.errors import HubUnavailable
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status.stall import ShardProgress, detect_stall, evaluate_progress, is_being_followed
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

NOW = 1_793_500_000.0


def motion(
    shard: int = 1,
    *,
    head_age: float | None = 1.0,
    cursor: int | None = 100,
    idle: float | None = 1.0,
    waiting: float = 0.0,
) -> ShardProgress:
    head_unix = None if head_age is None else int(NOW - head_age)
    return ShardProgress(shard, None if head_unix is None else 500, head_unix, cursor, idle, waiting)


@pytest.mark.parametrize(
    "shards",
    [
        [motion(), motion(2)],
        [motion(idle=59.0, waiting=400.0), motion(2)],  # it catches up
        [motion(idle=4000.0), motion(2)],  # nothing of the hub's is left to fold
        [motion(idle=4000.0, waiting=59.0), motion(2)],  # the hub stood still itself until now
        [motion(cursor=None, idle=None, waiting=20.0)],  # a new replica of a new network
        [motion(head_age=90.0), motion(2, head_age=100.0)],  # the whole hub stands still
        [motion(head_age=None), motion(2, head_age=None)],
        [motion(head_age=900.0, idle=800.0, waiting=900.0), motion(2, head_age=2000.0)],  # a recorded log
        [],
    ],
)
def test_what_is_as_it_should_be(shards: list[ShardProgress]):
    found = evaluate_progress(shards, NOW)
    assert found.problems == ()
    assert found.advice


def test_a_cursor_that_stands_still_while_the_head_moved():
    found = evaluate_progress([motion(), motion(2, idle=75.0, waiting=74.0)], NOW)
    (problem,) = found.problems
    assert problem.startswith("shard 2: the ledger has stood still for 75 s (it ends at 100), while the hub went on to")
    assert "hub_event_sensor" in found.advice
    assert "FC_HUB_URLS" not in found.advice


def test_one_that_was_never_written():
    (problem,) = evaluate_progress([motion(cursor=None, idle=None, waiting=3000.0)], NOW).problems
    assert "nothing of it was ever folded" in problem


def test_nobody_is_blamed_for_the_time_before_the_watch():
    shards = [motion(idle=90_000.0, waiting=90_000.0)]
    assert evaluate_progress(shards, NOW, watched_seconds=60.0).problems == ()
    assert evaluate_progress(shards, NOW, watched_seconds=60.0).advice == "blocks wait, but were watched for 60 s only"
    (problem,) = evaluate_progress(shards, NOW, watched_seconds=61.0).problems
    assert "has stood still for 61 s" in problem


@pytest.mark.parametrize("head_age", [61.0, 100_000.0, None])
def test_a_silent_shard_beside_one_that_moves(head_age: float | None):
    found = evaluate_progress([motion(head_age=head_age), motion(2), motion(3)], NOW)
    (problem,) = found.problems
    assert problem.startswith("shard 1: the hub has ")
    assert "while shard 2, 3 goes on" in problem
    assert "FC_HUB_URLS" in found.advice
    assert "hub_event_sensor" not in found.advice


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def two_shards(first_ends: float, second_ends: float | None):
    """Twenty seconds of both, up to these unix times; the second has no block at all if its end is None."""
    first = casts_at(every_second(1000, int(first_ends) - 19, 20))
    log = log_of(first, casts_at(every_second(50, int(second_ends) - 19, 20), 2) if second_ends else ())
    log.shard(2)
    return log


def aged(bench: Workbench, seconds: float) -> None:
    """As if the ledger had been written so long ago."""
    with bench.replica.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE pipeline.coverage SET committed_at = committed_at - make_interval(secs => :s)"),
            {"s": seconds},
        )


def test_a_live_hub_that_is_followed_and_then_is_not(database: Database, lake: Path):
    log = two_shards(time.time() - 100, time.time() - 100)
    faults = Faults(frozen=True)
    growth = Endless(log, events_per_second=10.0, start_unix=time.time() - 90)
    with serving(log, growth=growth, faults=faults) as url, workbench(database, lake, url) as bench:
        assert not is_being_followed(bench.replica)
        bench.run()
        assert is_being_followed(bench.replica)
        aged(bench, 300.0)
        assert not is_being_followed(bench.replica)
        assert detect_stall(bench.replica).problems == ()  # the hub stood still, too
        faults.frozen = False
        found = detect_stall(bench.replica)
        assert [problem[:8] for problem in found.problems] == ["shard 1:", "shard 2:"]
        assert all("has stood still for 30" in problem for problem in found.problems)
        bench.run("again")
        assert detect_stall(bench.replica).problems == ()


@pytest.mark.parametrize("silent_for", [300.0, None])
def test_a_hub_of_which_one_shard_is_silent(database: Database, lake: Path, silent_for: float | None):
    log = two_shards(time.time() - 1, time.time() - silent_for if silent_for else None)
    with serving(log) as url, workbench(database, lake, url) as bench:
        bench.run()
        (problem,) = detect_stall(bench.replica).problems
        assert problem.startswith("shard 2: the hub has")


def test_a_recorded_log_and_a_hub_without_blocks_are_well(database: Database, lake: Path):
    with serving(log_of()) as url, workbench(database, lake, url) as bench:
        assert detect_stall(bench.replica).problems == ()
        assert detect_stall(bench.replica).advice == "the hub has no blocks yet"
    log = two_shards(time.time() - 5000, time.time() - 9000)
    with serving(log) as url, workbench(database, lake, url) as bench:
        for _ in ("nothing folded", "all folded", "long ago"):
            found = detect_stall(bench.replica)
            assert found.problems == ()
            assert "has ended" in found.advice
            bench.run(window=HourWindow(Hour.of(time.time() - 9100), Hour.of(time.time() - 5000)))
            aged(bench, 1000.0)


def test_what_was_never_folded_of_a_live_hub(database: Database, lake: Path):
    with serving(two_shards(time.time() - 70, time.time() - 70)) as url, workbench(database, lake, url) as bench:
        bench.survey()
        assert len(detect_stall(bench.replica).problems) == 2
        assert detect_stall(bench.replica, watched_seconds=30.0).problems == ()


def test_a_hub_that_does_not_answer_is_an_error(database: Database, lake: Path):
    with workbench(database, lake, "http://127.0.0.1:9") as bench, pytest.raises(HubUnavailable):
        detect_stall(bench.replica)
