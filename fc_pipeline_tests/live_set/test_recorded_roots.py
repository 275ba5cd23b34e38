"""A real node's recorded feed, folded in any way: the tables' root is the `shard_root` that the validators signed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.outputs import OUTPUTS
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.proof.headers import read_shard_chunk
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix
from fc_pipeline.proof.trie import Node
from fc_pipeline.store.digest_tables import DIGEST_TABLES
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline_tests.support.any_order import Log, fold_anyhow, fold_in_order, refold_everything
from fc_pipeline_tests.support.events import micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.live_sets import LiveSet, root_of
from fc_pipeline_tests.support.node_leaves import take_from_node
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.recorded_leaves import gasless_leaves, recorded_grpc, recorded_leaves
from fc_pipeline_tests.support.recorded_node import recorded_feed, served_node
from fc_pipeline_tests.support.wire_fields import fields_of
from fc_pipeline_tests.support.workbench import Workbench, missing_span, workbench

SHARDS = (1, 2)
NUM_MESSAGES = {1: 1779, 2: 1532}
"""As the node's own /v1/info says."""


@pytest.fixture(scope="module")
def log(shared_fixtures: Path) -> Log:
    return {shard: recorded_feed(shared_fixtures, shard) for shard in SHARDS}


@pytest.fixture(scope="module")
def signed(shared_fixtures: Path, log: Log) -> dict[int, Node]:
    """By shard the root in the header of the feed's last height, and how many leaves the node counts."""
    headers = [
        read_shard_chunk(chunk).header
        for call in recorded_grpc(shared_fixtures)
        if call.method == "GetShardChunks" and call.response is not None
        for chunk in fields_of(call.response)[1]
    ]
    roots = {(header.shard, header.height): header.shard_root for header in headers}
    return {shard: Node(NUM_MESSAGES[shard], roots[shard, max(log[shard])]) for shard in SHARDS}


def take_gasless_keys(replica: FoldedDatabase, fixtures: Path) -> None:
    """The leaves that no feed has, as they would be taken from the node."""
    fids = {fid_prefix(fid): fid for fid in range(1, 2000)}
    with replica.engine.begin() as connection:
        for shard in SHARDS:
            leaves: dict[int, list[bytes]] = {}
            for key in gasless_leaves(fixtures, shard):
                leaves.setdefault(fids[key[:FID_PREFIX_BYTES]], []).append(key[FID_PREFIX_BYTES:])
            take_from_node(connection, shard, 1, leaves)


def in_order(replica: FoldedDatabase, session: FoldSession, log: Log) -> None:
    fold_in_order(replica, session, log, shard_count=len(SHARDS))


def as_two_batches(replica: FoldedDatabase, session: FoldSession, log: Log) -> None:
    for shard in reversed(SHARDS):
        session.fold(micro_batch(log[shard], shard=shard, shard_count=len(SHARDS)))


def backwards(replica: FoldedDatabase, session: FoldSession, log: Log) -> None:
    for shard in SHARDS:
        heights = sorted(log[shard], reverse=True)
        for last in range(0, len(heights), 40):
            first = heights[min(last + 39, len(heights) - 1)]
            session.fold(micro_batch(log[shard], first, heights[last], shard, shard_count=len(SHARDS)))


def in_random_cuts(replica: FoldedDatabase, session: FoldSession, log: Log) -> None:
    fold_anyhow(replica, session, log, Random(5), shard_count=len(SHARDS))


@pytest.mark.parametrize(
    "fold", [as_two_batches, backwards, in_random_cuts, pytest.param(in_order, marks=pytest.mark.slow)]
)
def test_folded_in_any_order_the_root_is_the_signed_one(
    replica: FoldedDatabase,
    shared_fixtures: Path,
    log: Log,
    signed: dict[int, Node],
    fold: Callable[[FoldedDatabase, FoldSession, Log], None],
) -> None:
    found = LiveSet(replica.url)
    with FoldSession(replica.url, "roots") as session:
        fold(replica, session, log)
        told = {shard: root_of(recorded_leaves(shared_fixtures, shard)) for shard in SHARDS}
        assert found.roots() == told  # of digests that were never made
        take_gasless_keys(replica, shared_fixtures)
        assert found.roots() == signed
        found.refresh()
        assert found.roots() == signed
        refold_everything(session, log, shard_count=len(SHARDS))
        assert found.roots() == signed
        assert found.refresh(all_fids=True)
        assert found.roots() == signed


@pytest.fixture
def bench(database: Database, lake: Path, shared_fixtures: Path) -> Iterator[Workbench]:
    with served_node(shared_fixtures) as url, workbench(database, lake, url) as opened:
        yield opened


def snapshots(bench: Workbench) -> None:
    assert Backfill(bench.replica, "backfill", BackfillScope()).execute().unread == {}


def feed(bench: Workbench) -> None:
    bench.run()


@pytest.mark.parametrize(
    "steps",
    [
        (snapshots, feed),
        (feed, snapshots),
        (snapshots, feed, snapshots),
    ],
    ids=["before", "after", "before and after"],
)
@pytest.mark.slow
def test_with_snapshots_before_and_after_the_feed_the_root_is_the_signed_one(
    bench: Workbench,
    shared_fixtures: Path,
    signed: dict[int, Node],
    steps: tuple[Callable[[Workbench], None], ...],
) -> None:
    found = LiveSet(bench.tables.url)
    for step in steps:
        step(bench)
    take_gasless_keys(bench.tables, shared_fixtures)
    assert found.roots() == signed
    found.refresh()
    assert found.roots() == signed


@pytest.mark.slow
def test_what_an_older_release_folded_is_folded_again_from_the_raw_log(
    bench: Workbench, shared_fixtures: Path, signed: dict[int, Node]
) -> None:
    feed(bench)
    with bench.tables.engine.begin() as connection:  # as that release has left it
        connection.execute(sa.text("UPDATE pipeline.coverage SET tables = array_remove(tables, 'other_leaves')"))
        for table in (*(one.name for one in DIGEST_TABLES), OTHER_LEAVES.name):
            connection.execute(sa.text(f"DELETE FROM pipeline.{table}"))
    span = bench.ask(missing_span, outputs=OUTPUTS)
    assert span is not None
    bench.run("upgrade", HourWindow(*span))
    assert bench.ask(missing_span, outputs=OUTPUTS) is None
    take_gasless_keys(bench.tables, shared_fixtures)
    found = LiveSet(bench.tables.url)
    found.refresh()
    assert found.roots() == signed
