"""A generated log, folded in any way: the tables' leaves are those of a plain model that reads event by event."""

from collections.abc import Iterator
from random import Random

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix
from fc_pipeline_tests.support.any_order import Log, fold_anyhow, generated_log, refold_everything
from fc_pipeline_tests.support.events import micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.live_sets import LiveSet, plain_keys, root_of

SHARDS = (1, 2)
EVENTS = 3_000
FIDS = {fid_prefix(fid): fid for fid in range(400)}


@pytest.fixture(scope="module", params=[3, pytest.param(4, marks=pytest.mark.slow)])
def log(request: pytest.FixtureRequest) -> Log:
    return generated_log(request.param, EVENTS)


@pytest.fixture
def session(replica: FoldedDatabase) -> Iterator[FoldSession]:
    with FoldSession(replica.url, "generated") as opened:
        yield opened


def test_in_any_order_the_leaves_are_the_models(replica: FoldedDatabase, session: FoldSession, log: Log) -> None:
    found = LiveSet(replica.url)
    expected = {shard: plain_keys(log, shard) for shard in SHARDS}
    fids = {FIDS[key[:FID_PREFIX_BYTES]] for keys in expected.values() for key in keys}
    for seed in range(3):
        fold_anyhow(replica, session, log, Random(seed), shard_count=len(SHARDS))
        for shard in SHARDS:
            keys = found.keys(shard, fids)
            assert (sorted(keys - expected[shard]), sorted(expected[shard] - keys)) == ([], [])
        assert found.roots() == {shard: root_of(expected[shard]) for shard in SHARDS}
        refold_everything(session, log, shard_count=len(SHARDS))
        found.refresh()
        assert found.roots() == {shard: root_of(expected[shard]) for shard in SHARDS}


def test_digests_made_between_folds_are_those_made_at_the_end(
    replica: FoldedDatabase, session: FoldSession, log: Log
) -> None:
    found = LiveSet(replica.url)
    heights = {shard: sorted(log[shard]) for shard in SHARDS}
    for part in range(4):
        for shard in SHARDS:
            some = heights[shard][part * len(heights[shard]) // 4 : (part + 1) * len(heights[shard]) // 4]
            session.fold(micro_batch(log[shard], some[0], some[-1], shard, shard_count=len(SHARDS)))
        assert found.refresh()
        assert found.refresh() == 0
    assert found.roots() == {shard: root_of(plain_keys(log, shard)) for shard in SHARDS}
