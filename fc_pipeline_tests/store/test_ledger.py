"""The coverage ledger and leases: no overlap ever, one writer per shard and hour, and no write without the lease."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from time import sleep

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.errors import AlreadyFolded, FcPipelineError, LeaseLost
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.heights import HeightRange, holes
from fc_pipeline.store import lease, ledger
from fc_pipeline.store.ledger import ShardOrigin
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR,
    HOUR_UNIX,
    NOW,
    blocks_of,
    cast_add,
    link,
    merge,
    merge_proof,
    micro_batch,
    proof,
    user_data,
)
from fc_pipeline_tests.support.folded import STATE_TABLES, Dump, FoldedDatabase

LEDGER = ("pipeline.coverage", "pipeline.quarantine")
BLOCKS = blocks_of(*([merge(cast_add(1, f"cast {n}"))] for n in range(10)))


def everything(replica: FoldedDatabase) -> Dump:
    return replica.dump((*STATE_TABLES, *LEDGER))


def ranges(replica: FoldedDatabase, shard: int = 1) -> list[HeightRange]:
    """Those of its lines."""
    lines = replica.rows(f"SELECT from_height, to_height FROM pipeline.coverage WHERE shard = {shard} ORDER BY 1")
    return [HeightRange(*line) for line in lines]


def take(replica: FoldedDatabase, session: FoldSession, holder: str, shard: int = 1, partition: str = HOUR) -> bool:
    return lease.try_take(
        replica.engine, shard=shard, partition=partition, holder=holder, backend_pid=session.backend_pid
    )


@given(st.sets(st.integers(0, 60)), st.integers(0, 60), st.integers(0, 60))
def test_ranges_and_holes_are_the_whole_interval(heights: set[int], first: int, last: int) -> None:
    folded: list[HeightRange] = []
    for height in sorted(heights):
        if folded and folded[-1].last == height - 1:
            folded[-1] = HeightRange(folded[-1].first, height)
        else:
            folded.append(HeightRange(height, height))
    missing = holes(folded, first, last)
    found = [height for hole in missing for height in range(hole.first, hole.last + 1)]
    assert found == [height for height in range(first, last + 1) if height not in heights]
    assert all(a.last + 1 < b.first for a, b in pairwise(missing))


def test_a_run_extends_its_own_line(replica: FoldedDatabase) -> None:
    with FoldSession(replica.url, "run-1") as session:
        for first, last in ((0, 1), (2, 2), (3, 5)):
            session.fold(micro_batch(BLOCKS, FIRST_HEIGHT + first, FIRST_HEIGHT + last))
    (line,) = replica.rows("SELECT * FROM pipeline.coverage")
    assert (line.from_height, line.to_height, line.run_id) == (FIRST_HEIGHT, FIRST_HEIGHT + 5, "run-1")
    assert (line.events, line.confirmed_events, line.partition) == (12, 12, HOUR)
    # Six casts and their threads, and the one row of fid_activity in each of three batches.
    assert line.rows_written == 6 + 6 + 3
    assert int(line.last_block_at.timestamp()) == HOUR_UNIX + 5
    assert line.tables == sorted(line.tables)


@pytest.mark.parametrize("change", ["run", "tables", "hole", "partition", "shard"])
def test_what_does_not_follow_on_begins_a_line(replica: FoldedDatabase, change: str) -> None:
    second = micro_batch(BLOCKS, FIRST_HEIGHT + 2, FIRST_HEIGHT + 3)
    run = "run-1"
    match change:
        case "run":
            run = "run-2"
        case "tables":
            second = micro_batch(BLOCKS, FIRST_HEIGHT + 2, FIRST_HEIGHT + 3, tables=("casts",))
        case "hole":
            second = micro_batch(BLOCKS, FIRST_HEIGHT + 3, FIRST_HEIGHT + 3)
        case "partition":
            second = replace(second, partition="2026-11-01-01:00")
        case _:
            second = replace(second, shard=2)
    with FoldSession(replica.url, "run-1") as session:
        session.fold(micro_batch(BLOCKS, last=FIRST_HEIGHT + 1))
    with FoldSession(replica.url, run) as session:
        session.fold(second)
    assert len(replica.rows("SELECT 1 FROM pipeline.coverage")) == 2


@pytest.mark.parametrize(("first", "last"), [(3, 5), (0, 3), (5, 9), (4, 4), (0, 9)])
def test_covered_heights_are_refused_and_nothing_is_written(replica: FoldedDatabase, first: int, last: int) -> None:
    other = blocks_of(*([merge(cast_add(2, f"other {n}")), merge(cast_add(-1))] for n in range(10)))
    with FoldSession(replica.url, "run-1") as session:
        session.fold(micro_batch(BLOCKS, FIRST_HEIGHT + 3, FIRST_HEIGHT + 5))
        before = everything(replica)
        with pytest.raises(AlreadyFolded, match=f"{FIRST_HEIGHT + first}-{FIRST_HEIGHT + last} of shard 1"):
            session.fold(micro_batch(other, FIRST_HEIGHT + first, FIRST_HEIGHT + last))
        assert everything(replica) == before
        session.fold(micro_batch(other, FIRST_HEIGHT + 6, FIRST_HEIGHT + 6))
    assert ranges(replica)[-1].last == FIRST_HEIGHT + 6


def test_postgres_itself_forbids_overlaps_but_not_between_shards(replica: FoldedDatabase) -> None:
    insert = sa.text(
        "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
        "confirmed_events, rows_written, last_block_at) VALUES (:s, :f, :t, '{}', 'p', 'r', 0, 0, 0, now())"
    )
    top = 2**50 - 1
    with replica.engine.begin() as connection:
        connection.execute(insert, [{"s": 1, "f": 10, "t": top}, {"s": 2, "f": 0, "t": 20}, {"s": 1, "f": 0, "t": 9}])
    for s, f, t in ((1, 9, 9), (1, 0, 0), (1, top, top), (2, 20, 30), (2, 5, 6)):
        with pytest.raises(sa.exc.IntegrityError), replica.engine.begin() as connection:
            connection.execute(insert, {"s": s, "f": f, "t": t})
    with pytest.raises(sa.exc.IntegrityError, match="coverage_range_check"), replica.engine.begin() as connection:
        connection.execute(insert, {"s": 9, "f": 5, "t": 4})


def test_two_runs_that_race_for_the_same_heights_fold_each_height_once(replica: FoldedDatabase) -> None:
    def run(name: str) -> int:
        folded = 0
        with FoldSession(replica.url, name) as session:
            for height in sorted(BLOCKS):
                try:
                    session.fold(micro_batch(BLOCKS, height, height))
                    folded += 1
                except AlreadyFolded:
                    continue
        return folded

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(run, ("a", "b", "c"))) == len(BLOCKS)
    assert replica.rows("SELECT sum(to_height - from_height + 1) FROM pipeline.coverage") == [(len(BLOCKS),)]
    assert replica.rows("SELECT casts FROM fid_activity") == [(len(BLOCKS),)]


def test_two_shards_fold_at_once_without_a_deadlock(replica: FoldedDatabase) -> None:
    """Both write the same names, activity rows and profiles, in opposite order of their events."""
    names = [f"name{n}" for n in range(30)]
    fids = list(range(1, 31))

    def content(order: int) -> list[list[object]]:
        return [
            [merge_proof(proof(name, 1, HOUR_UNIX + n)) for name in names[::order]]
            + [merge(link(9, fid, NOW + n)) for fid in fids[::order]]
            + [merge(user_data(fid, "BIO", f"{n}", NOW + n)) for fid in fids[::order]]
            for n in range(15)
        ]

    def run(shard: int) -> None:
        blocks = blocks_of(*content(1 if shard == 1 else -1), shard=shard)  # pyright: ignore[reportArgumentType]
        with FoldSession(replica.url, f"shard {shard}") as session:
            for height in sorted(blocks):
                session.fold(micro_batch(blocks, height, height, shard))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, (1, 2)))
    assert replica.rows("SELECT DISTINCT bio FROM user_profiles") == [("14",)]
    assert replica.rows("SELECT sum(follows_received), sum(follows) FROM fid_activity") == [(900, 900)]


def test_covered_by_hour_and_table(replica: FoldedDatabase) -> None:
    with FoldSession(replica.url, "run") as session:
        session.fold(micro_batch(BLOCKS, last=FIRST_HEIGHT + 1, tables=("casts",)))
        session.fold(replace(micro_batch(BLOCKS, first=FIRST_HEIGHT + 2), partition="next"))
    first, second = HeightRange(FIRST_HEIGHT, FIRST_HEIGHT + 1), HeightRange(FIRST_HEIGHT + 2, FIRST_HEIGHT + 9)
    with replica.engine.begin() as connection:
        assert ledger.covered(connection, 1) == [HeightRange(first.first, second.last)]
        assert ledger.covered(connection, 1, partition=HOUR) == [first]
        assert ledger.covered(connection, 1, partition="next") == [second]
        assert ledger.covered(connection, 1, tables=("links",)) == [second]
        assert ledger.covered(connection, 1, tables=("casts", "links"), partition=HOUR) == []
        assert ledger.covered(connection, 2) == []
        assert ledger.last_covered(connection, 1) == (FIRST_HEIGHT + 9, datetime.fromtimestamp(HOUR_UNIX + 9, UTC))
        assert ledger.last_covered(connection, 2) is None
        ledger.add_tables(connection, 1, HOUR, FIRST_HEIGHT + 1, ["links", "casts"])
        assert ledger.covered(connection, 1, tables=("casts", "links"), partition=HOUR) == [first]


def test_an_origin_moves_to_earlier_heights_only(replica: FoldedDatabase) -> None:
    def origin(height: int) -> ShardOrigin:
        return ShardOrigin(1, height, datetime.fromtimestamp(HOUR_UNIX + height, UTC), 2)

    with replica.engine.begin() as connection:
        assert ledger.origins(connection) == {}
        for height, expected in ((50, 50), (70, 50), (20, 20)):
            ledger.record_origin(connection, origin(height))
            assert ledger.origins(connection) == {1: origin(expected)}


@pytest.fixture
def two_sessions(replica: FoldedDatabase) -> Iterator[tuple[FoldSession, FoldSession]]:
    with ExitStack() as stack:
        first = stack.enter_context(FoldSession(replica.url, "run-a", holder="run-a/1"))
        second = stack.enter_context(FoldSession(replica.url, "run-b", holder="run-b/1"))
        yield first, second


def test_a_lease_is_of_one_holder_per_shard_and_hour(
    replica: FoldedDatabase, two_sessions: tuple[FoldSession, FoldSession]
) -> None:
    a, b = two_sessions
    assert take(replica, a, "run-a/1")
    assert take(replica, a, "run-a/1"), "the holder may take it again"
    assert not take(replica, b, "run-b/1")
    assert take(replica, b, "run-b/1", shard=2)
    assert take(replica, b, "run-b/1", partition="next")
    with replica.engine.connect() as connection:
        found = lease.holders(connection, partition=HOUR)
    assert {shard: holder.run_id for shard, holder in found.items()} == {1: "run-a", 2: "run-b"}
    lease.release(replica.engine, holder="run-a/1")
    assert take(replica, b, "run-b/1")


def test_a_lease_of_a_dead_session_is_free(replica: FoldedDatabase) -> None:
    with FoldSession(replica.url, "dead", holder="dead/1") as dead:
        assert take(replica, dead, "dead/1")
        pid = dead.backend_pid
    while replica.rows("SELECT 1 FROM pg_stat_activity WHERE pid = :pid", pid=pid):
        sleep(0.01)
    with replica.engine.connect() as connection:
        assert lease.holders(connection, partition=HOUR) == {}
    with FoldSession(replica.url, "next", holder="next/1") as successor:
        assert take(replica, successor, "next/1")


def expire(replica: FoldedDatabase) -> None:
    """As if the holder had not written for longer than a heartbeat may be old."""
    old = lease.HEARTBEAT_TIMEOUT_SECONDS + 1
    with replica.engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE pipeline.leases SET heartbeat_at = now() - interval '{old} seconds'"))


def test_a_lease_without_a_heartbeat_is_free_and_folding_is_one(
    replica: FoldedDatabase, two_sessions: tuple[FoldSession, FoldSession]
) -> None:
    a, b = two_sessions
    assert take(replica, a, "run-a/1")
    expire(replica)
    a.fold(micro_batch(BLOCKS, last=FIRST_HEIGHT))
    assert not take(replica, b, "run-b/1"), "folding renewed the heartbeat"
    expire(replica)
    with replica.engine.connect() as connection:
        assert lease.holders(connection, partition=HOUR) == {}
    assert take(replica, b, "run-b/1")


def test_who_lost_the_lease_writes_nothing(
    replica: FoldedDatabase, two_sessions: tuple[FoldSession, FoldSession]
) -> None:
    a, b = two_sessions
    assert take(replica, a, "run-a/1")
    a.fold(micro_batch(BLOCKS, last=FIRST_HEIGHT))
    expire(replica)
    assert take(replica, b, "run-b/1")
    before = everything(replica)
    bad = blocks_of(*([merge(cast_add(1, f"cast {n}")), merge(cast_add(-1))] for n in range(3)))
    with pytest.raises(LeaseLost, match="run-a no longer holds the lease on shard 1"):
        a.fold(micro_batch(bad, first=FIRST_HEIGHT + 1))
    assert everything(replica) == before
    b.fold(micro_batch(BLOCKS, first=FIRST_HEIGHT + 1))
    assert ranges(replica) == [HeightRange(FIRST_HEIGHT, FIRST_HEIGHT), HeightRange(FIRST_HEIGHT + 1, FIRST_HEIGHT + 9)]


def test_a_holder_without_any_lease_writes_nothing(replica: FoldedDatabase) -> None:
    with FoldSession(replica.url, "run", holder="run/1") as session:
        for batch in (micro_batch(BLOCKS), replace(micro_batch(BLOCKS), shard=2)):
            with pytest.raises(FcPipelineError):
                session.fold(batch)
    assert all(not rows for rows in everything(replica).values())


def test_a_failing_transaction_leaves_nothing_and_the_session_usable(replica: FoldedDatabase) -> None:
    batch = micro_batch(BLOCKS)
    broken = replace(batch, tables=frozenset({"casts\x00"}))
    with FoldSession(replica.url, "run") as session:
        with pytest.raises(Exception, match=r"0x00|NUL|null"):
            session.fold(broken)
        assert all(not rows for rows in everything(replica).values())
        session.fold(batch)
    assert len(replica.rows("SELECT 1 FROM casts")) == len(BLOCKS)


def test_replaced_activity_counts_once(replica: FoldedDatabase) -> None:
    batch = micro_batch(BLOCKS)
    activity = batch.activity
    assert activity is not None
    with FoldSession(replica.url, "run") as session:
        session.fold(batch)
        assert session.replace_activity([1], lambda: activity).rows == 0
        session.refold(batch)
        assert replica.rows("SELECT fid, casts FROM fid_activity") == [(1, 10)]
        half = micro_batch(BLOCKS, last=FIRST_HEIGHT + 4).activity
        assert half is not None
        assert session.replace_activity([1, 2], lambda: half).updated == 1
    assert replica.rows("SELECT fid, casts FROM fid_activity") == [(1, 5)]


def test_a_session_that_postgres_has_ended_writes_nothing_and_says_so(replica: FoldedDatabase) -> None:
    """As that of a run which stood still inside a transaction: others need not wait for its locks."""
    with FoldSession(replica.url, "run") as session:
        with replica.engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_terminate_backend(session.backend_pid)))
        with pytest.raises(LeaseLost, match=r"the Postgres session of run run is gone"):
            session.fold(micro_batch(BLOCKS))
    assert ranges(replica) == []
