"""A registration and a verification that two shards fold at the same moment: neither misses the other."""

from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic, sleep

import pytest
import sqlalchemy as sa

from fc_pipeline_tests.support.channels import registered
from fc_pipeline_tests.support.events import Event, blocks_of, cast_add, merge, merge_chain, verification
from fc_pipeline_tests.support.folded import FoldedDatabase

OWNER = "0x" + "a1" * 20
WAITS_SECONDS = 20

# Of a cast by FID 1, and a reply to it: both shards count in the row of FID 1, which is written last of all.
COUNTED = {1: cast_add(1, "more"), 2: cast_add(3, "reply", parentCastId={"fid": 1, "hash": "0x" + "01" * 20})}
NEWS = {1: merge_chain(registered("a", OWNER, block=1)), 2: merge(verification(3, OWNER))}


@pytest.mark.parametrize("first", [1, 2])
def test_a_fold_waits_for_what_another_shard_is_about_to_tell(replica: FoldedDatabase, first: int) -> None:
    second = 3 - first
    replica.fold([merge(cast_add(1))])

    def fold(shard: int, *events: Event) -> None:
        replica.fold_blocks(blocks_of(list(events), shard=shard, first_height=5_000), shard)

    with ThreadPoolExecutor(2) as pool, replica.engine.connect() as connection:
        connection.execute(sa.text("SELECT FROM fid_activity WHERE fid = 1 FOR UPDATE"))
        one = pool.submit(fold, first, NEWS[first], merge(COUNTED[first]))
        until_waiting(replica, 1, one)
        other = pool.submit(fold, second, NEWS[second])
        until_waiting(replica, 2, other)
        connection.rollback()
        one.result(WAITS_SECONDS)
        other.result(WAITS_SECONDS)
    assert replica.live("channels", "channel_key, fid") == [("a", 3)]


def until_waiting(replica: FoldedDatabase, sessions: int, fold: Future[None]) -> None:
    """Until that many sessions wait for a lock."""
    waiting = "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity USING (pid) WHERE NOT granted"
    deadline = monotonic() + WAITS_SECONDS
    while replica.rows(waiting)[0][0] < sessions:
        assert not fold.done(), "it did not wait"
        assert monotonic() < deadline
        sleep(0.02)
