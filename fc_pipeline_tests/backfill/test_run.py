"""Backfills of a served hub: the tables equal those that the feed makes, whatever is cut short or comes twice."""

import asyncio
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill import chunks, fetch
from fc_pipeline.backfill import run as backfill_module
from fc_pipeline.backfill.estimate import estimate
from fc_pipeline.backfill.fetch import fetch_chunk
from fc_pipeline.backfill.progress import BackfillProgress
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import HubError, LakeError
from fc_pipeline.hub.snapshot import CONTRACTS_FID, KEYS_READ
from fc_pipeline.lake.snapshot_log import SnapshotLog, bucket_of
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import held_fids
from fc_pipeline_tests.support.acted_hub import DISCONNECT, ActedHub, Answer, json_answer, reads_for
from fc_pipeline_tests.support.answers import check_recorded_messages, pinata, recorded_blocks
from fc_pipeline_tests.support.events import block
from fc_pipeline_tests.support.logs import log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, live, workbench


@pytest.fixture(scope="module")
def hub_url(lines: list[bytes]) -> Iterator[str]:
    with serving(log_from_lines(lines)) as url:
        yield url


@pytest.fixture
def bench(database: Database, lake: Path, hub_url: str) -> Iterator[Workbench]:
    with workbench(database, lake, hub_url) as opened:
        yield opened


def backfill(
    bench: Workbench, scope: BackfillScope | None = None, run_id: str = "run", **options: Any
) -> BackfillProgress:
    return Backfill(bench.replica, run_id, scope or BackfillScope(), **options).execute()


def test_a_backfill_makes_the_live_rows_of_the_feed(
    bench: Workbench, other_database: Database, tmp_path: Path, hub_url: str
):
    done = backfill(bench)
    assert done.unread == {}
    assert sum(bucket.fids_folded for bucket in done.buckets.values()) == done.fids > 60
    with workbench(other_database, tmp_path / "other" / "lake", hub_url) as fed:
        fed.run()
        expected = live(fed)
        assert all(expected.values())
        # How a channel is set up is told by messages, which no list by FID has.
        found = live(bench)
        assert len(found.pop("channels")) == len(expected["channels"])
        assert found == {name: rows for name, rows in expected.items() if name != "channels"}
        # In either order: the feed after the snapshots, the snapshots after the feed.
        bench.run()
        assert live(bench) == expected
        again = backfill(fed)
        assert (live(fed), dict(again.reconciled.drift)) == (expected, {})
    rows = bench.rows("SELECT count(*) AS n, sum(records) AS records FROM pipeline.snapshots WHERE folded_file = file")
    assert (rows[0].n, rows[0].records) == (done.fids, done.records)
    rounds = bench.rows(
        "SELECT sum(fids) AS fids, sum(requests) AS requests FROM pipeline.snapshot_rounds "
        "WHERE finished_at IS NOT NULL"
    )
    per_fid = sum(bucket.requests for bucket in done.buckets.values())
    assert (rounds[0].fids, rounds[0].requests) == (done.fids, per_fid)
    assert per_fid <= 12 * done.fids


def test_one_file_per_bucket_of_a_chunk_and_old_ones_go_when_a_round_is_over(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
):
    log = SnapshotLog.open(bench.replica.settings.lake_uri)
    scope = BackfillScope.of_fids([3, 5, 7])
    backfill(bench, scope)
    first = [path for bucket in scope.buckets for path in log.files(bucket)]
    assert len(first) == 3
    backfill(bench, scope)
    assert len([path for bucket in scope.buckets for path in log.files(bucket)]) == 6  # they are young yet
    monkeypatch.setattr(backfill_module, "ORPHANED_FOR", timedelta(0))
    backfill(bench, scope)
    last = [path for bucket in scope.buckets for path in log.files(bucket)]
    assert len(last) == 3
    assert {row.file for row in bench.rows("SELECT file FROM pipeline.snapshots")} == set(last)


def test_what_is_fetched_while_a_fold_is_at_work_is_folded_in_one_transaction(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(backfill_module, "CHUNK_FIDS", 4)
    everyone = BackfillScope.of_fids(range(1, 41))
    with ThreadPoolExecutor(1) as pool, bench.replica.engine.connect() as other:
        for shard in (1, 2):  # the first fold has to wait
            other.execute(sa.text(held_fids.LOCK_SHARD.replace("$1", str(shard))))
        running = pool.submit(backfill, bench, everyone)
        deadline = time.monotonic() + 60
        while bench.rows("SELECT count(*) AS n FROM pipeline.snapshots")[0].n < 32:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.rollback()
        assert running.result(60).fids == 40
    transactions = bench.rows("SELECT xmin::text AS id, count(*) AS fids FROM pipeline.snapshots GROUP BY 1")
    assert len(transactions) <= 3
    assert max(one.fids for one in transactions) >= 28


def test_chunks_are_fetched_side_by_side_only_where_the_hub_is_asked_without_limit(
    database: Database, lake: Path, hub_url: str, monkeypatch: pytest.MonkeyPatch
):
    under_way = most = 0

    async def counted(*given: Any) -> fetch.FetchedChunk:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        chunk = await fetch_chunk(*given)
        under_way -= 1
        return chunk

    monkeypatch.setattr(backfill_module, "CHUNK_FIDS", 4)
    monkeypatch.setattr(chunks, "fetch_chunk", counted)
    for rate, expected in ((None, 2), (100_000.0, 1)):
        most = 0
        with workbench(database, lake, hub_url, hub_rps=rate) as bench:
            backfill(bench, BackfillScope.of_fids(range(1, 31)))
        assert most == expected


@pytest.mark.slow
def test_fetched_now_folded_later_without_a_hub(
    database: Database, other_database: Database, lake: Path, hub_url: str, tmp_path: Path
):
    with workbench(database, lake, hub_url) as bench:
        backfill(bench, fold=False)
        assert not any(live(bench).values())
        assert bench.rows("SELECT 1 FROM pipeline.snapshots WHERE folded_at IS NOT NULL") == []
    with workbench(database, lake, "http://127.0.0.1:9") as bench:
        backfill(bench, fetch=False)
        folded = live(bench)
        # A table that was lost comes back from the lake.
        with bench.replica.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE casts CASCADE")
    with workbench(database, lake, "http://127.0.0.1:9") as bench:
        assert live(bench)["casts"] == set()
        assert bench.rows("SELECT 1 FROM pipeline.snapshots WHERE folded_at IS NOT NULL") == []
        again = backfill(bench, fetch=False)
        assert (live(bench), dict(again.reconciled.drift)) == (folded, {})
    with workbench(other_database, tmp_path / "other" / "lake", hub_url) as bench:
        with pytest.raises(LakeError, match="materialise fid_snapshots"):
            backfill(bench, fetch=False)
        backfill(bench)
        assert live(bench) == folded


def _run_in_child(url: str, lake: str, hub_url: str) -> None:
    """A backfill that says, chunk by chunk, what it has done, in the database."""
    fetch.CHUNK_FIDS = backfill_module.CHUNK_FIDS = 4  # pyright: ignore[reportConstantRedefinition, reportAttributeAccessIssue]
    settings = Settings(data_dir=Path(lake).parent, lake_uri=lake, postgres_url=url, hub_urls=(hub_url,))
    with open_replica(settings) as replica:
        Backfill(replica, "killed", BackfillScope()).execute()


@pytest.mark.slow
def test_a_killed_run_is_resumed_inside_its_buckets(bench: Workbench, database: Database, lake: Path, hub_url: str):
    child = multiprocessing.get_context("spawn").Process(target=_run_in_child, args=(database.url, str(lake), hub_url))
    child.start()
    deadline = time.monotonic() + 60
    while bench.rows("SELECT count(*) AS n FROM pipeline.snapshots")[0].n < 12:
        assert child.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    # What it had sent to be committed is committed yet.
    while bench.rows("SELECT 1 FROM pg_stat_activity WHERE application_name = 'fc_pipeline killed'"):
        time.sleep(0.01)
    fetched = {row.fid: row.requests for row in bench.rows("SELECT fid, requests FROM pipeline.snapshots")}
    waiting = bench.rows("SELECT count(*) AS n FROM pipeline.snapshots WHERE folded_file IS DISTINCT FROM file")[0].n
    left = estimate(bench.replica, BackfillScope())
    assert left.fids_left == left.fids - len(fetched) > 0

    done = backfill(bench, run_id="resumed")
    by_run = {
        row.run_id: row.n for row in bench.rows("SELECT run_id, count(*) AS n FROM pipeline.snapshots GROUP BY 1")
    }
    assert by_run == {"killed": len(fetched), "resumed": left.fids_left}
    assert done.fids == left.fids_left + waiting
    assert bench.rows("SELECT 1 FROM pipeline.snapshots WHERE folded_file IS DISTINCT FROM file") == []
    assert bench.rows("SELECT 1 FROM pipeline.snapshot_rounds WHERE finished_at IS NULL") == []
    # Nothing is resumed of a round that is over.
    assert estimate(bench.replica, BackfillScope()).fids_left == left.fids


def test_a_run_that_is_asked_to_stop_leaves_the_rest_to_the_next(bench: Workbench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(backfill_module, "CHUNK_FIDS", 8)
    chunks = iter([False, False, False, False, True])
    done = backfill(bench, should_stop=lambda: next(chunks, True))
    assert 0 < done.fids_left < done.fids
    rest = backfill(bench)
    assert (rest.fids, rest.fids_left) == (done.fids_left, 0)


def test_a_dry_run_says_what_the_run_then_asks(bench: Workbench):
    scope = BackfillScope.of_fids(range(1, 41))
    expected = estimate(bench.replica, scope)
    assert bench.rows("SELECT 1 FROM pipeline.snapshot_rounds") == []
    done = backfill(bench, scope)
    assert (expected.fids, expected.sampled_fids) == (40, 40)
    assert expected.requests == done.requests
    assert expected.rows == pytest.approx(done.records, rel=0.25)
    assert expected.seconds == pytest.approx(expected.requests / expected.requests_per_second)


def test_the_budget_of_the_hub_is_what_a_dry_run_counts_with(database: Database, lake: Path, hub_url: str):
    with workbench(database, lake, hub_url, hub_rps=500.0) as bench:
        expected = estimate(bench.replica, BackfillScope.of_fids([3, 5]))
    assert expected.requests_per_second == 500
    assert expected.seconds == pytest.approx(expected.requests / 500)


def test_contract_events_of_no_user_are_in_bucket_0(bench: Workbench):
    done = backfill(bench, BackfillScope((0,)))
    kinds = {row.type for row in bench.rows("SELECT DISTINCT type FROM on_chain_events WHERE fid = 0")}
    assert kinds == {"signer_migrated", "channel_register"}
    assert done.buckets[0].fids >= 1
    assert bench.rows(f"SELECT 1 FROM pipeline.snapshots WHERE fid = {CONTRACTS_FID}") != []
    assert all(bucket_of(row.fid) == 0 for row in bench.rows("SELECT fid FROM pipeline.snapshots"))


@pytest.mark.slow
def test_every_recorded_message_of_the_live_network_lands_unchanged(
    database: Database, lake: Path, shared_fixtures: Path
):
    messages = pinata(shared_fixtures)
    blocks = [raw for height, events in recorded_blocks(messages).items() for raw in block(height, events)]
    fids = {message["data"]["fid"] for message in messages}
    with serving(log_of(blocks)) as url, workbench(database, lake, url) as bench:
        done = backfill(bench, BackfillScope.of_fids(fids))
        assert done.records == len(messages) - _superseded(messages)
        assert bench.quarantine() == []
        check_recorded_messages(bench.tables, messages)


def _superseded(messages: list[Any]) -> int:
    """User data that a later message of the same user and type has replaced on the hub."""
    keys = [
        (m["data"]["fid"], m["data"]["userDataBody"]["type"])
        for m in messages
        if m["data"]["type"] == "MESSAGE_TYPE_USER_DATA_ADD"
    ]
    return len(keys) - len(set(keys))


EMPTY = {"messages": [], "events": [], "proofs": [], "signers": [], "nextPageToken": ""}
INFO = {"version": "1", "numShards": 1, "shardInfos": [{"shardId": 1, "maxHeight": 9, "blockDelay": 1}]}


def poisoned(path: str, params: dict[str, str]) -> Answer:
    """A hub that dies of one user's casts, and knows nothing of the others."""
    if path == "/v1/info":
        return json_answer(INFO)
    if path == "/v1/storageLimitsByFid":
        return Answer(400, b"{}")
    return DISCONNECT if path == "/v1/castsByFid" and params["fid"] == "7" else json_answer(EMPTY)


def test_a_user_that_the_hub_dies_of_does_not_fail_the_others(tmp_path: Path):
    async def main() -> fetch.FetchedChunk:
        async with ActedHub() as hub:
            hub.respond = poisoned
            reads = reads_for(hub, retries=1)
            async with reads.client:
                return await fetch_chunk(reads, SnapshotLog.open(str(tmp_path)), [(3, 1), (7, 1), (9, 1)], {})

    chunk = asyncio.run(main())
    assert [line.fid for line in chunk.snapshots] == [3, 9]
    assert list(chunk.unread) == [7]
    assert "castsByFid" in chunk.unread[7]


def test_the_users_that_could_not_be_read_are_named_and_asked_again(bench: Workbench, monkeypatch: pytest.MonkeyPatch):
    scope = BackfillScope.of_fids([3, 5])

    async def without_5(hub: Any, log: SnapshotLog, fids: Any, held: Any, node: Any) -> fetch.FetchedChunk:
        chunk = await fetch_chunk(hub, log, [one for one in fids if one[0] != 5], held, node)
        return fetch.FetchedChunk(chunk.snapshots, {5: "it dies of it"}, chunk.requests)

    with monkeypatch.context() as patched:
        patched.setattr(chunks, "fetch_chunk", without_5)
        with pytest.raises(HubError, match=r"1 FIDs could not be read: 5; the first: it dies of it"):
            backfill(bench, scope)
    assert [row.fid for row in bench.rows("SELECT fid FROM pipeline.snapshots WHERE folded_file = file")] == [3]
    assert backfill(bench, scope).fids == 1
    assert [row.fid for row in bench.rows("SELECT fid FROM pipeline.snapshots ORDER BY 1")] == [3, 5]
    assert bench.rows("SELECT 1 FROM pipeline.snapshot_rounds WHERE finished_at IS NULL") == []


def test_a_big_user_has_a_file_of_its_own_and_never_lies_in_memory_whole(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fetch, "BIG_FID_BYTES", 2_000)
    backfill(bench, BackfillScope.of_fids([3, 3 + 256]))
    big = bench.rows("SELECT file, records FROM pipeline.snapshots WHERE fid = 3")[0]
    rows = [
        row
        for batch in SnapshotLog.open(bench.replica.settings.lake_uri).read(big.file, [3])
        for row in batch.to_pylist()
    ]
    assert len([row for row in rows if row["kind"] != KEYS_READ]) == big.records > 10
    assert {row["fid"] for row in rows} == {3}
    assert bench.rows("SELECT 1 FROM casts WHERE fid = 3 AND deleted_at IS NULL") != []
