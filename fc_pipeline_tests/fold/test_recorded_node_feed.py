"""The recorded node's whole feed of both shards, folded in any order: the same tables, byte for byte."""

from collections.abc import Collection
from pathlib import Path
from random import Random

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline_tests.support.any_order import Log, fold_anyhow, fold_in_order, refold_everything
from fc_pipeline_tests.support.events import micro_batch
from fc_pipeline_tests.support.folded import Dump, FoldedDatabase, as_folded
from fc_pipeline_tests.support.recorded_node import recorded_feed

SHARDS = (1, 2)
OF_ONE_SHARD = ("channel_settings", "channel_members", "channel_pins", "channel_moderations", "storage_lends")
"""Each shard's feed has the same messages: they are taken from shard 1 (protocol-tables 0)."""
OF_HOME_SHARDS = (
    "casts",
    "reactions",
    "links",
    "user_data",
    "verifications",
    "on_chain_events",
    "embeds",
    "signers",
    "storage_rents",
    "tier_purchases",
    "channel_follows",
)


@pytest.fixture(scope="module")
def log(shared_fixtures: Path) -> Log:
    return {shard: recorded_feed(shared_fixtures, shard) for shard in SHARDS}


def folded(replica: FoldedDatabase, session: FoldSession, log: Log, shards: Collection[int]) -> Dump:
    """Each shard as one micro-batch."""
    replica.empty()
    for shard in shards:
        session.fold(micro_batch(log[shard], shard=shard, shard_count=len(SHARDS)))
    return replica.dump()


@pytest.mark.slow
def test_in_any_order_cut_anew_and_folded_twice_it_makes_the_same_tables(replica: FoldedDatabase, log: Log) -> None:
    with FoldSession(replica.url, "recorded feed") as session:
        reference = fold_in_order(replica, session, log, shard_count=len(SHARDS))
        assert all(reference.values())
        for seed in range(3):
            assert fold_anyhow(replica, session, log, Random(seed), shard_count=len(SHARDS)) == reference
            refold_everything(session, log, shard_count=len(SHARDS))
            assert replica.dump() == reference


def test_one_shard_behind_the_other_by_all_that_it_has_makes_the_same_tables(replica: FoldedDatabase, log: Log) -> None:
    with FoldSession(replica.url, "recorded feed") as session:
        assert folded(replica, session, log, (1, 2)) == folded(replica, session, log, (2, 1))


def live_rows(replica: FoldedDatabase, table: str, shard: int | None = None) -> set[str]:
    """Of the users whose home a shard is, or of all."""
    rows = replica.rows(f"SELECT fid, {as_folded(table)} AS row FROM {table} WHERE deleted_at IS NULL")
    return {row.row for row in rows if shard is None or shard_of(row.fid, len(SHARDS)) == shard}


@pytest.mark.parametrize("shard", SHARDS)
def test_one_shard_alone_makes_all_rows_of_its_users_and_none_of_others(
    replica: FoldedDatabase, log: Log, shard: int
) -> None:
    with FoldSession(replica.url, "recorded feed") as session:
        folded(replica, session, log, SHARDS)
        whole = {table: live_rows(replica, table, shard) for table in OF_HOME_SHARDS}
        shared = {table: live_rows(replica, table) for table in OF_ONE_SHARD}
        names = {tuple(row) for row in replica.rows("SELECT name, fid FROM username_proofs WHERE deleted_at IS NULL")}
        folded(replica, session, log, [shard])
    for table, rows in whole.items():
        assert live_rows(replica, table) == rows, table
        assert rows or (table, shard) == ("tier_purchases", 2), table  # nobody there bought anything
    for table, rows in shared.items():
        assert live_rows(replica, table) == (rows if shard == 1 else set()), table
    assert {tuple(row) for row in replica.rows("SELECT name, fid FROM username_proofs WHERE deleted_at IS NULL")} == (
        names
    )
