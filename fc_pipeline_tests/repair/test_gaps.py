"""Gaps: found by whoever looks, filled by the feed where some hub has them, healed by snapshots where none has."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from fc_pipeline.backfill import chunks
from fc_pipeline.backfill import run as backfill_module
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.verify import verify
from fc_pipeline.errors import HubError, HubUntrusted, LeaseLost
from fc_pipeline.feed.goal import Goal
from fc_pipeline.heights import HeightRange, holes, overlap, without
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.hub.wire import height_of
from fc_pipeline.repair.gaps import heal_gaps, plan_healing
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status import health
from fc_pipeline.status.status import read_status
from fc_pipeline.store import gaps
from fc_pipeline_tests.support.gaps import gaps_of, heal, height_at, part
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import live, workbench


def fed_wholly(lines: list[bytes], database: Database, lake: Path) -> dict[str, set[str]]:
    """The live rows of a replica that has missed nothing."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()
        return live(bench)


@pytest.mark.slow
def test_an_outage_longer_than_the_hub_remembers_is_found_and_healed(
    database: Database, other_database: Database, lake: Path, tmp_path: Path, lines: list[bytes]
) -> None:
    log = log_from_lines(lines)
    read, kept = height_at(log, 0.25), height_at(log, 0.5)
    with serving(part(lines, read)) as url, workbench(database, lake, url) as bench:
        bench.run("before")
        assert gaps_of(bench) == []
    with serving(log, faults=Faults(pruned_before_height=kept)) as url, workbench(database, lake, url) as bench:
        bench.run("after")
        lost = [(shard, read[shard] + 1, kept[shard] - 1, "outage", None) for shard in (1, 2)]
        assert gaps_of(bench) == lost
        assert live(bench) != (expected := fed_wholly(lines, other_database, tmp_path / "other" / "lake"))

        blocks = sum(last - first + 1 for _, first, last, _, _ in lost)
        goal = Goal.now(bench.replica)
        assert (goal.missing_blocks(), goal.blocks_by_snapshots()) == (blocks, 0)
        found = read_status(bench.replica)
        assert not found.is_complete
        assert [(gap.shard, gap.from_height, gap.to_height) for gap in found.open_gaps] == [one[:3] for one in lost]
        hours = bench.replica.log.hours()
        assert health.coverage_of_hours(bench.replica, hours).missing_blocks == blocks

        plan = heal(bench)
        assert [(damaged.shard, damaged.heights) for damaged in plan.damaged_ranges] == [
            (shard, HeightRange(first, last)) for shard, first, last, _, _ in lost
        ]
        assert gaps_of(bench) == [(*one[:4], "snapshots") for one in lost]
        assert {row.healed_by for row in bench.rows("SELECT healed_by FROM pipeline.gaps")} == {"healer"}
        assert live(bench) == expected

        assert (goal.missing_blocks(), goal.blocks_by_snapshots()) == (0, blocks)
        found = read_status(bench.replica)
        assert found.is_complete
        assert sum(shard.blocks_by_snapshots for shard in found.shards) == blocks
        found = health.coverage_of_hours(bench.replica, hours)
        assert (found.missing_blocks, found.blocks_by_snapshots) == (0, blocks)
        assert health.open_gaps(bench.replica) == []
        assert plan_healing(bench.replica).damaged_ranges == ()
        # Nothing of it was drift, and from here on there is something to evaluate by.
        assert bench.rows("SELECT * FROM pipeline.drift") == []
        with bench.replica.engine.begin() as connection:
            forged = "UPDATE user_data SET value = 'forged' WHERE ctid = (SELECT min(ctid) FROM user_data "
            connection.exec_driver_sql(forged + "WHERE deleted_at IS NULL)")
        compared = verify(bench.replica).compared
        assert (dict(compared.drift), dict(compared.history)) == ({"user_data": 1}, {})


@pytest.mark.slow
def test_healing_that_was_cut_short_goes_on_where_it_ended(
    database: Database, lake: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_module, "CHUNK_FIDS", 8)
    log = log_from_lines(lines)
    read, kept = height_at(log, 0.25), height_at(log, 0.5)
    with serving(part(lines, read)) as url, workbench(database, lake, url) as bench:
        bench.run()
    with serving(log, faults=Faults(pruned_before_height=kept)) as url, workbench(database, lake, url) as bench:
        looks = iter([False] * 8)

        def cut_short(scope: BackfillScope) -> Backfill:
            return Backfill(bench.replica, "first", scope, should_stop=lambda: next(looks, True))

        everyone = len(heal_gaps(bench.replica, "first", cut_short).fids)
        assert {how for *_, how in gaps_of(bench)} == {None}
        left = len(plan_healing(bench.replica).fids)
        assert 0 < left < everyone
        heal(bench)
        assert {how for *_, how in gaps_of(bench)} == {"snapshots"}
        by_run = bench.rows("SELECT folded_run_id AS run, count(*) AS n FROM pipeline.snapshots GROUP BY 1 ORDER BY 1")
        assert [(row.run, row.n) for row in by_run] == [("first", everyone - left), ("healer", left)]
        # A snapshot from before a gap does not heal it.
        with bench.replica.engine.begin() as connection:
            gaps.reopen(connection)
            connection.exec_driver_sql("UPDATE pipeline.snapshots SET folded_version = 1 WHERE mod(fid, 2) = 0")
        evens = bench.rows("SELECT count(*) AS n FROM pipeline.snapshots WHERE fid % 2 = 0")[0].n
        assert len(plan_healing(bench.replica).fids) == evens


@pytest.mark.slow
def test_another_hub_that_remembers_more_fills_the_gap(
    database: Database, other_database: Database, lake: Path, tmp_path: Path, lines: list[bytes]
) -> None:
    log = log_from_lines(lines)
    read, kept = height_at(log, 0.25), height_at(log, 0.5)
    with serving(part(lines, read)) as url, workbench(database, lake, url) as bench:
        bench.run("before")
    with serving(log, faults=Faults(pruned_before_height=kept)) as forgetful, serving(log_from_lines(lines)) as other:
        with workbench(database, lake, forgetful) as bench:
            bench.run("alone")
            assert {how for *_, how in gaps_of(bench)} == {None}
        with workbench(database, lake, forgetful, other) as bench:
            assert bench.survey().shards[0].lost == ()
            bench.run("together")
            assert [(shard, how) for shard, _, _, _, how in gaps_of(bench)] == [(1, "feed"), (2, "feed")]
            assert {row.healed_by for row in bench.rows("SELECT healed_by FROM pipeline.gaps")} == {"together"}
            assert live(bench) == fed_wholly(lines, other_database, tmp_path / "other" / "lake")
            assert Goal.now(bench.replica).missing_blocks() == 0


def poisonable(log: EventLog, live_casts: set[str]) -> int:
    """The event of a cast that is still there, in a block in which its author does something else before."""
    authors: dict[int, set[int]] = {}
    for raw in log.shards[1].raws:
        event = msgspec.json.decode(raw)
        if event["type"] != "HUB_EVENT_TYPE_MERGE_MESSAGE":
            continue
        message = event["mergeMessageBody"]["message"]
        seen = authors.setdefault(height_of(event["id"]), set())
        if message["data"]["fid"] in seen and any(message["hash"][2:] in row for row in live_casts):
            return event["id"]
        seen.add(message["data"]["fid"])
    raise AssertionError("no block has two messages of one author")


@pytest.mark.slow
def test_the_block_of_a_poison_event_is_healed_by_whom_it_speaks_of(
    database: Database, other_database: Database, lake: Path, tmp_path: Path, lines: list[bytes], no_pauses: None
) -> None:
    log = log_from_lines(lines)
    expected = fed_wholly(lines, other_database, tmp_path / "other" / "lake")
    poison = poisonable(log, expected["casts"])
    height = height_of(poison)
    with serving(log, poison_event_ids={poison}) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert gaps_of(bench) == [(1, height, height, "poison_page", None)]
        assert len(expected["casts"] - live(bench)["casts"]) == 1
        assert Goal.now(bench.replica).missing_blocks() == 0
        assert not read_status(bench.replica).is_complete
        plan = heal(bench)
        everyone = {row.fid for row in bench.rows("SELECT fid FROM user_profiles")}
        assert 0 < len(plan.fids) < len(everyone) / 2
        assert all(shard_of(fid, 2) == 1 for fid in plan.fids)
        assert gaps_of(bench) == [(1, height, height, "poison_page", "snapshots")]
        assert live(bench) == expected
        assert read_status(bench.replica).is_complete
        # The event itself was never seen, and stays on record.
        assert (1, poison, "poison_page") in bench.quarantine()


def test_a_poisoned_block_of_which_nothing_else_can_be_read_concerns_the_whole_shard(
    database: Database, lake: Path, lines: list[bytes], no_pauses: None
) -> None:
    log = log_from_lines(lines)
    shard = log.shards[1]
    blocks = sorted(Counter(map(height_of, shard.event_ids)).items(), key=lambda one: one[1])
    height = next(height for height, events in blocks if events > 1)
    poison = {event_id for event_id in shard.event_ids if height_of(event_id) == height and event_id & 0x3FFF}
    with serving(log, poison_event_ids=poison) as url, workbench(database, lake, url) as bench:
        bench.run()
        (damaged,) = plan_healing(bench.replica).damaged_ranges
        assert (damaged.shard, damaged.heights) == (1, HeightRange(height, height))
        known = {row.fid for row in bench.rows("SELECT fid FROM user_profiles") if shard_of(row.fid, 2) == 1}
        assert damaged.fids >= known > set()


def test_without_a_gap_there_is_nothing_to_heal(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert heal(bench).damaged_ranges == ()
        assert gaps_of(bench) == []
        assert bench.rows("SELECT * FROM pipeline.snapshots") == []


def test_only_one_run_heals_at_a_time(database: Database, lake: Path, lines: list[bytes]) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        engine = bench.replica.engine
        with gaps.healing_lock(engine) as taken, engine.connect() as connection:
            assert taken
            assert gaps.is_being_healed(connection)
            with pytest.raises(LeaseLost, match="another run is healing"):
                heal(bench)
        with engine.connect() as connection:
            assert not gaps.is_being_healed(connection)
        heal(bench)


def test_a_gap_grows_with_what_is_forgotten_and_heals_piece_by_piece(database: Database, lake: Path) -> None:
    with workbench(database, lake, "http://127.0.0.1:9") as bench:
        engine = bench.replica.engine
        for last in (109, 109, 110, 112):
            gaps.observe(engine, 1, [HeightRange(100, last)])
        gaps.observe(engine, 1, [HeightRange(98, 112), HeightRange(120, 121)])
        gaps.observe(engine, 2, [HeightRange(100, 101)])
        assert gaps_of(bench) == [
            (1, 98, 112, "outage", None),
            (1, 120, 121, "outage", None),
            (2, 100, 101, "outage", None),
        ]
        gaps.heal(engine, 1, gaps.OUTAGE, HeightRange(100, 120), "healer")
        assert gaps_of(bench) == [
            (1, 98, 99, "outage", None),
            (1, 100, 112, "outage", "snapshots"),
            (1, 120, 120, "outage", "snapshots"),
            (1, 121, 121, "outage", None),
            (2, 100, 101, "outage", None),
        ]
        gaps.observe(engine, 1, [HeightRange(98, 112), HeightRange(120, 121)])
        assert len(gaps_of(bench)) == 5  # what is healed is not lost any more


@pytest.mark.slow
def test_a_table_that_was_lost_has_lost_what_snapshots_brought(
    database: Database, lake: Path, lines: list[bytes]
) -> None:
    log = log_from_lines(lines)
    read, kept = height_at(log, 0.25), height_at(log, 0.5)
    with serving(part(lines, read)) as url, workbench(database, lake, url) as bench:
        bench.run()
    with serving(log, faults=Faults(pruned_before_height=kept)) as url:
        with workbench(database, lake, url) as bench:
            bench.run()
            heal(bench)
            before = live(bench)
            with bench.replica.engine.begin() as connection:
                connection.exec_driver_sql("DROP TABLE casts CASCADE")
        with workbench(database, lake, url) as bench:
            assert {how for *_, how in gaps_of(bench)} == {None}
            bench.run()
            assert live(bench) != before
            heal(bench)
            assert live(bench) == before


def test_a_hub_that_has_lost_its_past_is_not_snapshotted(
    database: Database, lake: Path, lines: list[bytes], tmp_path: Path
) -> None:
    """Its head and its newest blocks are right, but it answers as if nobody had done anything before."""
    log = log_from_lines(lines)
    late = height_at(log, 0.9)
    young = [line for line in lines if _height(line) >= late[_shard(line)]]
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()
        before = bench.dump()
    with serving(log_from_lines(young)) as url, workbench(database, lake, url) as bench:
        with pytest.raises(HubUntrusted, match="has lost its past: it has no registration of"):
            Backfill(bench.replica, "run", BackfillScope.of_fids([3, 5, 7])).execute()
        assert bench.dump() == before
        assert bench.rows("SELECT * FROM pipeline.snapshots") == []
    # Beside a sound hub it is left, and the work goes on.
    with (
        serving(log_from_lines(young)) as bad,
        serving(log_from_lines(lines)) as good,
        workbench(database, lake, bad, good) as bench,
    ):
        done = Backfill(bench.replica, "run", BackfillScope.of_fids([3, 5, 7])).execute()
        assert (done.fids_left, dict(done.reconciled.drift)) == (0, {})
        assert bench.dump() == before


def test_a_hub_that_is_reset_while_it_is_asked_is_not_folded(
    database: Database, lake: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = log_from_lines(lines)
    fetch = chunks.fetch_chunk

    async def fetch_from_a_reset_hub(*args: object) -> object:
        fetched = await fetch(*args)  # pyright: ignore[reportArgumentType]
        for shard in log.shards.values():
            shard.hide_all()
        return fetched

    with serving(log) as url, workbench(database, lake, url) as bench:
        bench.run()
        before = bench.dump()
        monkeypatch.setattr(chunks, "fetch_chunk", fetch_from_a_reset_hub)
        with pytest.raises(HubError, match="is behind: its shard 1 is at height 0"):
            Backfill(bench.replica, "run", BackfillScope.of_fids([3, 5, 7])).execute()
        assert bench.dump() == before
        assert bench.rows("SELECT * FROM pipeline.snapshots") == []


def _height(line: bytes) -> int:
    return height_of(msgspec.json.decode(line)["id"])


def _shard(line: bytes) -> int:
    return msgspec.json.decode(line)["shardIndex"]


def test_ranges_of_heights() -> None:
    some = [HeightRange(1, 5), HeightRange(8, 9)]
    assert without(some, [HeightRange(8, 20), HeightRange(3, 3)]) == [HeightRange(1, 2), HeightRange(4, 5)]
    assert overlap(some, [HeightRange(4, 8)]) == [HeightRange(4, 5), HeightRange(8, 8)]
    assert overlap(some, []) == []
    assert holes(some, 0, 10) == [HeightRange(0, 0), HeightRange(6, 7), HeightRange(10, 10)]
