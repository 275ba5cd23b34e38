"""The users of a round: listed once, kept by bucket, shared by the runs of the round, listed anew for the next."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.backfill.grouping import FIDS_PER_FOLD, RECORDS_PER_FOLD, chunks_of_shards, groups_of_lines
from fc_pipeline.backfill.progress import BackfillProgress
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.hub.snapshot import CONTRACTS_FID, shard_of
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_of
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import fid_listings
from fc_pipeline.store.snapshot_ledger import SnapshotLine
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

FIDS = 20
HALVES = (tuple(range(10)), tuple(range(10, BUCKETS)))


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    lines = generate(7, fids=FIDS, events=400, events_per_second=40.0, start_unix=HOUR_UNIX)
    with serving(log_from_lines(lines)) as url:
        yield url


@pytest.fixture
def bench(database: Database, tmp_path: Path, hub_url: str) -> Iterator[Workbench]:
    with workbench(database, tmp_path / "lake", hub_url) as opened:
        yield opened


def backfill(bench: Workbench, buckets: tuple[int, ...], round_name: str | None = None) -> BackfillProgress:
    return Backfill(bench.replica, "run", BackfillScope(buckets), fold=False, round_name=round_name).execute()


def listings(bench: Workbench) -> list[tuple[int, str | None]]:
    return [tuple(row) for row in bench.rows("SELECT id, name FROM pipeline.fid_listings ORDER BY id")]


def fetched(bench: Workbench) -> set[int]:
    return {row.fid for row in bench.rows("SELECT fid FROM pipeline.snapshots")}


def test_runs_of_a_round_share_one_list_and_each_does_its_own_buckets(bench: Workbench) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = [one.result() for one in [pool.submit(backfill, bench, half, "a round") for half in HALVES]]
    assert [name for _, name in listings(bench)] == ["a round"]
    assert fetched(bench) == {CONTRACTS_FID, *range(1, FIDS + 1)}
    assert sum(one.fids for one in done) == FIDS + 1
    pages = bench.rows("SELECT bucket, shard, unnest(fids) AS fid FROM pipeline.listed_fids")
    assert {(row.bucket, row.shard, row.fid) for row in pages} == {
        (bucket_of(fid), shard_of(fid, 2), fid) for fid in range(1, FIDS + 1)
    }
    with bench.replica.engine.connect() as connection:
        (listing,) = fid_listings.living(connection, name="a round")
        numbers = fid_listings.numbers_by_bucket(connection, listing.id, listing.buckets)
        found = fid_listings.progress(connection, listing, numbers)
        assert (found.fids, found.fids_fetched) == (FIDS, FIDS)
        assert fid_listings.finished_buckets(connection, listing.id) == set(range(BUCKETS))


def test_a_bucket_goes_by_a_list_once(bench: Workbench) -> None:
    backfill(bench, HALVES[0], "a round")
    backfill(bench, HALVES[0], "a round")
    assert len(listings(bench)) == 2
    backfill(bench, HALVES[1], "a round")
    assert len(listings(bench)) == 2
    backfill(bench, HALVES[1])
    backfill(bench, HALVES[1])
    assert [name for _, name in listings(bench)] == ["a round", "a round", None, None]


def test_whom_only_the_tables_know_is_asked_for_too(bench: Workbench) -> None:
    with bench.replica.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO user_profiles (fid, version) VALUES (900, 1), (3, 1)")
    done = backfill(bench, (bucket_of(900), 3))
    assert (done.fids, fetched(bench)) == (2, {3, 900})
    assert done.unknown_fids == []


def test_an_interrupted_round_goes_on_by_its_own_list(bench: Workbench) -> None:
    Backfill(bench.replica, "stopped", BackfillScope(), fold=False, should_stop=lambda: True).execute()
    assert fetched(bench) == set()
    again = backfill(bench, tuple(range(BUCKETS)))
    assert (again.fids, len(listings(bench))) == (FIDS + 1, 1)
    with bench.replica.engine.connect() as connection:
        assert fid_listings.finished_buckets(connection, listings(bench)[0][0]) == set(range(BUCKETS))


def test_lists_that_no_run_can_take_up_any_more_are_dropped_with_the_next(bench: Workbench) -> None:
    backfill(bench, HALVES[0])
    old = datetime.now(UTC) - timedelta(days=3)
    with bench.replica.engine.begin() as connection:
        for table, column in (("fid_listings", "listed_at"), ("snapshots", "fetched_at")):
            connection.execute(sa.text(f"UPDATE pipeline.{table} SET {column} = :old"), {"old": old})
    backfill(bench, HALVES[1])
    assert len(listings(bench)) == 1
    assert bench.rows("SELECT DISTINCT listing FROM pipeline.listed_fids")[0].listing == listings(bench)[0][0]


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 3)), unique=True), st.integers(1, 9))
def test_a_chunk_is_of_one_shard_and_none_is_left_out(fids: list[tuple[int, int]], size: int) -> None:
    async def given_fids():
        for one in fids:
            yield one

    async def chunked() -> list[list[tuple[int, int]]]:
        return [list(chunk) async for chunk in chunks_of_shards(given_fids(), size)]

    chunks = asyncio.run(chunked())
    assert sorted(one for chunk in chunks for one in chunk) == sorted(fids)
    assert all(0 < len(chunk) <= size and len({shard for _, shard in chunk}) == 1 for chunk in chunks)
    assert sum(len(chunk) < size for chunk in chunks) <= 3


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, RECORDS_PER_FOLD)), max_size=40))
def test_what_is_folded_together_is_little_and_mostly_of_one_shard(sizes: list[tuple[int, int]]) -> None:
    now = datetime.now(UTC)
    lines = [SnapshotLine(n, shard, 0, 1, 1, f"{n % 7}", records, 1, now) for n, (shard, records) in enumerate(sizes)]
    groups = list(groups_of_lines(lines))
    assert sorted(line.fid for group in groups for line in group) == list(range(len(lines)))
    for group in groups:
        assert len(group) <= FIDS_PER_FOLD
        assert len(group) == 1 or sum(line.records for line in group) <= RECORDS_PER_FOLD
    assert sum(len({line.shard for line in group}) - 1 for group in groups) <= 2
