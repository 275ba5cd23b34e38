"""What was before the feed that was read is completed by a node's lists: the live set is the node's, in any order."""

import json
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.wire import height_of
from fc_pipeline.live_set.known import KnownSet, known_sets
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix, leaf_type_name
from fc_pipeline.sample_hub.app import GrpcAt
from fc_pipeline.sample_hub.chain import Chain
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving_hub
from fc_pipeline_tests.support.any_order import Log
from fc_pipeline_tests.support.events import HOUR_UNIX, micro_batch
from fc_pipeline_tests.support.live_sets import LiveSet, plain_keys
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

FIDS = range(300)
SHARDS = (1, 2)
UNTOLD = {"USERNAME_PROOF", "CHANNEL_UPDATE", "CHANNEL_MEMBER", "CHANNEL_PIN", "CHANNEL_MODERATE"}
"""What no call lists of an FID."""


@dataclass
class Scene:
    """A node whose log appears bit by bit, and a replica of it that has read nothing."""

    log: Log
    hub: SampleHub
    bench: Workbench
    session: FoldSession

    def reveal(self, share: float) -> None:
        """Have the node be so far."""
        for number, shard in self.hub.log.shards.items():
            while (block := shard.hidden_block()) is not None and block.height <= self.height(number, share):
                shard.reveal(block)

    def height(self, shard: int, share: float) -> int:
        first, last = min(self.log[shard]), max(self.log[shard])
        return first + int(share * (last - first))

    def feed(self, start: float, end: float) -> None:
        """Read blocks of the feed, those from after one share of all to another."""
        for shard, blocks in self.log.items():
            low, high = self.height(shard, start) + 1, self.height(shard, end)
            self.session.fold(micro_batch(blocks, low, high, shard, shard_count=len(SHARDS)))

    def backfill(self, run_id: str = "run", *, fetch: bool = True, fold: bool = True) -> None:
        done = Backfill(self.bench.replica, run_id, BackfillScope(), fetch=fetch, fold=fold).execute()
        assert done.unread == {}

    def differing(self, shard: int) -> set[str]:
        """Of which types one side has leaves that the other has not, at the end of the log."""
        ours = LiveSet(self.bench.tables.url).keys(shard, FIDS)
        theirs = plain_keys(self.log, shard)
        assert theirs <= {key for key in theirs if key[:FID_PREFIX_BYTES] in {fid_prefix(fid) for fid in FIDS}}
        return {leaf_type_name(key[FID_PREFIX_BYTES]) for key in ours ^ theirs}

    def known(self) -> list[KnownSet]:
        with self.bench.replica.engine.connect() as connection:
            return known_sets(connection)


@contextmanager
def scene(database: Database, lake: Path, *, with_grpc: bool = True) -> Generator[Scene]:
    lines = list(generate(11, fids=40, events=3_000, start_unix=HOUR_UNIX, events_per_second=40.0))
    log: Log = {shard: {} for shard in SHARDS}
    for line in lines:
        event = json.loads(line)
        log[event["shardIndex"]].setdefault(height_of(event["id"]), []).append(line)
    hub = SampleHub(log_from_lines(lines), chain=Chain())
    for shard in hub.log.shards.values():
        shard.hide_all()
    ports: list[int] = []
    started = threading.Event()
    grpc_at = GrpcAt("127.0.0.1", 0, lambda port: (ports.append(port), started.set())[0])
    with serving_hub(hub, grpc_at) as url:
        assert started.wait(10)
        grpc = (f"http://127.0.0.1:{ports[0]}",) if with_grpc else ()
        with workbench(database, lake, url, hub_grpc=grpc) as bench, FoldSession(bench.tables.url, "feed") as session:
            yield Scene(log, hub, bench, session)


def lists_then_feed(there: Scene) -> None:
    there.reveal(0.5)
    there.backfill()
    there.reveal(1)
    there.feed(0.5, 1)


def feed_then_lists(there: Scene) -> None:
    there.reveal(1)
    there.feed(0.5, 1)
    there.backfill()


def lists_within_the_feed(there: Scene) -> None:
    there.reveal(0.6)
    there.feed(0.4, 0.6)
    there.backfill()
    there.reveal(1)
    there.feed(0.6, 1)


def lists_that_are_folded_last(there: Scene) -> None:
    there.reveal(0.6)
    there.backfill(fold=False)
    there.reveal(1)
    there.feed(0.8, 1)
    there.feed(0.4, 0.8)
    there.backfill("later", fetch=False)


def lists_twice(there: Scene) -> None:
    there.reveal(0.3)
    there.backfill()
    there.reveal(0.7)
    there.backfill("again")
    there.feed(0.5, 0.7)
    there.reveal(1)
    there.feed(0.7, 1)


@pytest.mark.parametrize(
    "read",
    [
        lists_then_feed,
        *(
            pytest.param(one, marks=pytest.mark.slow)
            for one in (feed_then_lists, lists_within_the_feed, lists_that_are_folded_last, lists_twice)
        ),
    ],
)
def test_with_a_nodes_lists_all_is_known_but_what_no_call_lists(
    database: Database, lake: Path, read: Callable[[Scene], None]
) -> None:
    with scene(database, lake) as there:
        read(there)
        for shard in SHARDS:
            assert there.differing(shard) <= UNTOLD
        for one in there.known():
            assert one.since is not None
            assert one.since > 1
            assert one.unlisted_fids == 0
            assert one.is_listed
        found = LiveSet(there.bench.tables.url)
        before = found.roots()
        found.refresh()
        there_all = found.roots()
        assert before == there_all
        assert found.refresh(all_fids=True)
        assert found.roots() == there_all, "whoever was written to was noted"


@pytest.mark.slow
def test_without_grpc_removes_stay_unknown_and_that_is_told(database: Database, lake: Path) -> None:
    with scene(database, lake, with_grpc=False) as there:
        lists_then_feed(there)
        assert "REACTION_REMOVE" in set.union(*map(there.differing, SHARDS))
        for one in there.known():
            assert one.unlisted_fids > 10
            assert not one.is_listed
            assert "FC_HUB_GRPC" in " ".join(one.lacks)
