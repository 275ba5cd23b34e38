"""Channels' tables come out the same whatever is folded first, and as the oracle says: one shard's order decides."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.faults.oracle import Oracle
from fc_pipeline_tests.faults.oracle_channels import SLOT_TABLES
from fc_pipeline_tests.faults.verdict import evaluate
from fc_pipeline_tests.support.any_order import Log, fold_anyhow, fold_in_order, refold_everything
from fc_pipeline_tests.support.channels import (
    channel_member,
    channel_moderate,
    channel_pin,
    channel_update,
    follow,
    registered,
    renewed,
    transferred,
)
from fc_pipeline_tests.support.events import (
    NOW,
    Event,
    Json,
    blocks_of,
    merge,
    merge_chain,
    prune,
    verification,
    verification_remove,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

TABLES = (*SLOT_TABLES, "channels", "channel_follows")
HOME = {1: (1, 3), 2: (2, 4)}
"""FIDs by their home, of two shards (hub-api 7.7)."""
CASTS = ("0x" + "c3" * 20, "0x" + "d4" * 20)
ADDRESSES = ("0x" + "a1" * 20, "0x" + "b2" * 20)

name = st.sampled_from(("a", "b"))
anyone = st.sampled_from((1, 2, 3, 4))
time = st.sampled_from((NOW, NOW + 1))
address = st.sampled_from(ADDRESSES)
block = st.sampled_from((1, 2, 3))

slots: st.SearchStrategy[Json] = st.one_of(
    st.builds(channel_member, anyone, name, anyone, st.sampled_from(("ADD_MEMBER", "ADD_MODERATOR", "BAN")), time),
    st.builds(channel_pin, anyone, name, st.sampled_from(("0x", *CASTS)), time),
    st.builds(channel_moderate, anyone, name, st.sampled_from(CASTS), st.sampled_from(("HIDE", "UNHIDE")), time),
    st.builds(lambda f, c, t, d: channel_update(f, c, t, description=d), anyone, name, time, st.sampled_from("xy")),
)
PLACES = {"a": 0, "b": 3}
"""Where in its block a contract's log of each channel stands: no log is ever of two channels."""
registry: st.SearchStrategy[Json] = st.one_of(
    st.builds(lambda c, a, b: registered(c, a, block=b, log_index=PLACES[c]), name, address, block),
    st.builds(
        lambda c, b, e: renewed(c, block=b, log_index=PLACES[c] + 1, expiry=e), name, block, st.sampled_from((1, 2))
    ),
    st.builds(lambda c, a, b: transferred(c, a, block=b, log_index=PLACES[c] + 2), name, address, block),
)


def of_shard(fids: tuple[int, ...]) -> st.SearchStrategy[Event]:
    """What only the home shard of these FIDs tells."""
    fid = st.sampled_from(fids)
    verified = st.builds(verification, fid, address, time)
    followed = st.builds(follow, fid, name, time)
    return st.one_of(
        st.builds(merge, st.one_of(verified, followed)),
        st.builds(merge, st.builds(verification_remove, fid, address, time)),
        st.builds(merge, st.builds(lambda f, c, t: follow(f, c, t, add=False), fid, name, time)),
        st.builds(prune, st.one_of(verified, followed)),
    )


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Both shards have the channels' messages in the same order; registrations come on the first."""
    shared = [[merge(one) for one in draw(st.lists(slots, max_size=4))] for _ in range(5)]
    registrations = [[merge_chain(one) for one in draw(st.lists(registry, max_size=2))] for _ in range(5)]
    own = {shard: [draw(st.lists(of_shard(fids), max_size=3)) for _ in range(5)] for shard, fids in HOME.items()}
    first = [[*a, *b, *c] for a, b, c in zip(own[1], registrations, shared, strict=True)]
    second = [[*a, *b] for a, b in zip(shared, own[2], strict=True)]
    return {1: blocks_of(*first, first_height=1_000), 2: blocks_of(*second, shard=2, first_height=9_000)}


def check(replica: FoldedDatabase, writer: FoldSession, log: Log, rng: Random) -> None:
    fold_in_order(replica, writer, log, shard_count=len(HOME))
    reference = replica.dump(TABLES)
    oracle = Oracle([one for blocks in log.values() for raws in blocks.values() for one in raws])
    found = evaluate(replica, oracle)
    assert {table: (found[table].numbers, found[table].examples) for table in TABLES} == {
        table: ((0, 0, 0, 0), []) for table in TABLES
    }
    fold_anyhow(replica, writer, log, rng, shard_count=len(HOME))
    assert replica.dump(TABLES) == reference
    refold_everything(writer, log, shard_count=len(HOME))
    assert replica.dump(TABLES) == reference
    assert replica.quarantined() == []


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(log=logs(), rng=st.randoms(use_true_random=False))
def test_any_order_repetition_and_cutting_gives_the_same_channels(
    folded_database: FoldedDatabase, writer: FoldSession, log: Log, rng: Random
) -> None:
    check(folded_database, writer, log, rng)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(log=logs(), rng=st.randoms(use_true_random=False))
def test_many_orders_repetitions_and_cuttings_give_the_same_channels(
    folded_database: FoldedDatabase, writer: FoldSession, log: Log, rng: Random
) -> None:
    check(folded_database, writer, log, rng)
