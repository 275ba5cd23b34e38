"""A hub that is two nodes, half a minute apart: nothing fails while either answers, nothing is lost or skipped."""

import threading
import time
from pathlib import Path

import pytest

from fc_pipeline.errors import HubUntrusted
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.status.status import read_status
from fc_pipeline_tests.faults.fleet import Fleet, Per, fleet
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.workbench import Heights, Workbench, missing_span, workbench

BOTH_WAYS = pytest.mark.parametrize("per", ["request", pytest.param("connection", marks=pytest.mark.faults)])
FOLLOW_SECONDS = 2.0
SETTINGS = {"batch_seconds": 0.2}


def follow(bench: Workbench, run_id: str, seconds: float = FOLLOW_SECONDS) -> list[Heights]:
    """A run that catches up and follows, as the sensor launches it; the ledger as it was seen meanwhile."""
    span = bench.ask(lambda state: missing_span(state))
    present = bench.survey().present_hour
    assert present is not None
    first = min(span[0], present) if span else present
    run = bench.make_run(run_id, HourWindow(first, present), follow_seconds=seconds)
    seen: list[Heights] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.1):
            seen.extend(bench.ledger())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        run.execute()
    finally:
        is_over.set()
        watching.join()
    return seen


def heads(seen: list[Heights], shard: int) -> list[int]:
    return [last for number, _, last in seen if number == shard]


def head_of(bench: Workbench) -> dict[int, int]:
    return {shard.shard: shard.head_height for shard in bench.survey().shards}


@pytest.mark.slow
@BOTH_WAYS
def test_two_nodes_half_a_minute_apart_are_followed(
    database: Database, postgres: EmbeddedPostgres, tmp_path: Path, per: Per
) -> None:
    with fleet(per) as hub:
        with workbench(database, tmp_path / "lake", hub.balancer.url, **SETTINGS) as bench:
            for number in range(2):  # one after the other, as followers take over
                seen = follow(bench, f"follower {number}")
                for shard in (1, 2):
                    # A cursor never goes back, and there is no hole below it.
                    assert heads(seen, shard) == sorted(heads(seen, shard))
                assert len(bench.ledger()) == 2
                hub.hurry_ahead()
            with workbench(database, tmp_path / "lake", hub.ahead) as looking:
                head = head_of(looking)
            # It is level with the node that is ahead, not with the other.
            assert all(head[shard] - last < 35 for shard, _, last in bench.ledger())
            hub.freeze(level=True)
            follow(bench, "last", 1.0)
        with fresh_database(postgres) as alone, workbench(alone, tmp_path / "other", hub.ahead) as one_node:
            one_node.run()
            assert one_node.ledger() == bench_ledger(database, tmp_path, hub)
            with workbench(database, tmp_path / "lake", hub.ahead) as bench:
                assert bench.dump() == one_node.dump()
                assert bench.logged() == one_node.logged()


def bench_ledger(database: Database, tmp_path: Path, hub: Fleet) -> list[Heights]:
    with workbench(database, tmp_path / "lake", hub.ahead) as bench:
        return bench.ledger()


@BOTH_WAYS
def test_looking_at_two_nodes_tells_of_no_lost_past(database: Database, tmp_path: Path, per: Per) -> None:
    """Whichever node answers what: a status, and the survey of a sensor, are about a hub that is well."""
    with fleet(per) as hub:
        with workbench(database, tmp_path / "lake", hub.ahead) as bench:
            bench.run()
        hub.hurry_ahead()
        with workbench(database, tmp_path / "lake", hub.balancer.url) as bench:
            for _ in range(4):
                found = read_status(bench.replica)
                assert found.hub_error is None
                assert [shard.holes for shard in found.shards] == [(), ()]


@pytest.mark.slow
def test_the_node_that_is_behind_alone_is_waited_for(database: Database, tmp_path: Path) -> None:
    """The other one has died: what was read is still to come here, and then the feed goes on."""
    with fleet("request", apart_seconds=4.0) as hub:
        with workbench(database, tmp_path / "lake", hub.ahead) as bench:
            bench.run()
            before = {shard: last for shard, _, last in bench.ledger()}
        with workbench(database, tmp_path / "lake", hub.behind) as bench:
            seen = follow(bench, "run")
            assert min(heads(seen, 1)) >= before[1]
            assert all(last > before[shard] for shard, _, last in bench.ledger())
            assert len(bench.ledger()) == 2


@pytest.mark.usefixtures("in_haste")
def test_a_node_that_stands_still_behind_what_was_read_is_refused_by_its_name(
    database: Database, tmp_path: Path
) -> None:
    with fleet("request", apart_seconds=30.0) as hub:
        with workbench(database, tmp_path / "lake", hub.ahead) as bench:
            bench.run()
        hub.freeze(level=False)
        with (
            workbench(database, tmp_path / "lake", hub.behind) as bench,
            pytest.raises(HubUntrusted, match=r"is behind: its shard \d is at height"),
        ):
            bench.survey()


@pytest.mark.faults
@BOTH_WAYS
def test_a_minute_of_two_nodes(database: Database, tmp_path: Path, per: Per) -> None:
    """As long as it takes for what a hub said to be asked for again, twice."""
    with fleet(per) as hub, workbench(database, tmp_path / "lake", hub.balancer.url, **SETTINGS) as bench:
        started = time.monotonic()
        seen = follow(bench, "follower", 65.0)
        assert time.monotonic() - started >= 65.0  # it has not failed before
        assert all(heads(seen, shard) == sorted(heads(seen, shard)) for shard in (1, 2))
        assert len(bench.ledger()) == 2
