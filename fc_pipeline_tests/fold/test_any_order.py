"""Any order, repetition and cutting of micro-batches gives the same tables, byte for byte (design, section 1)."""

from random import Random
from time import sleep

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.link_compactions import SCOPED_SINCE
from fc_pipeline_tests.support.any_order import Log, fold_anyhow, fold_in_order, generated_log, refold_everything
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    Event,
    Json,
    blocks_of,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    failure,
    link,
    merge,
    merge_chain,
    merge_proof,
    proof,
    prune,
    reaction,
    revoke,
    user_data,
    verification,
    verification_remove,
)
from fc_pipeline_tests.support.folded import STATE_TABLES, FoldedDatabase
from fc_pipeline_tests.support.postgres import Database

HOME = {1: (1, 2), 2: (3, 4)}
"""The FIDs of each shard: all that an FID does is on its shard, but for fname proofs (hub-api 7.7)."""
FIDS = (1, 2, 3, 4)
TIMES = (SCOPED_SINCE - 2, SCOPED_SINCE - 1, SCOPED_SINCE, SCOPED_SINCE + 1)
"""Message times around the moment since which compact states go by link type (hub-api 7.4)."""
ADDRESSES = (("0x" + "a1" * 20, "ETHEREUM"), ("0x" + "B2" * 20, "ETHEREUM"), ("9WzDXwBbmkg8ZTbNMqUxvQRAyrZz", "SOLANA"))
FIELDS = ("USERNAME", "BIO", "USER_DATA_PRIMARY_ADDRESS_ETHEREUM")

any_fid = st.sampled_from(FIDS)
time = st.sampled_from(TIMES)
cast = st.builds(
    cast_add,
    any_fid,
    st.sampled_from(("x", "y")),
    st.sampled_from(TIMES[:2]),
    parentCastId=st.sampled_from((None, {"fid": 1, "hash": "0x" + "01" * 20})),
)


def changing(fids: tuple[int, ...]) -> st.SearchStrategy[Event]:
    """What can happen on the shard of these FIDs, whether a hub would let it happen or not."""
    fid = st.sampled_from(fids)
    own_cast = cast.filter(lambda c: c["data"]["fid"] in fids)
    target = st.sampled_from(((1, "0x" + "01" * 20), (4, "0x" + "04" * 20), "https://a.example"))
    kind = st.sampled_from(("LIKE", "RECAST"))
    link_type = st.sampled_from(("follow", "block"))
    reactions = st.builds(reaction, fid, target, kind, time)
    links = st.builds(link, fid, any_fid, time, link_type)
    fields = st.builds(user_data, fid, st.sampled_from(FIELDS), st.sampled_from(("", "a", "b")), time)
    verified = st.builds(lambda f, a, t: verification(f, a[0], t, a[1]), fid, st.sampled_from(ADDRESSES), time)
    ens = st.builds(
        proof,
        st.sampled_from(("a.eth", "b.base.eth")),
        fid,
        st.sampled_from((HOUR_UNIX, HOUR_UNIX + 1)),
        st.just("ENS_L1"),
    )
    fname = st.builds(
        proof,
        st.sampled_from(("a", "b")),
        st.sampled_from((0, *FIDS)),
        st.sampled_from((1, 2, 3)),
        signature=st.sampled_from((b"\x01" * 65, b"\x02" * 65)),
    )
    registered = st.builds(
        lambda f, to, what, at: chain_event("id_register", f, {"to": to, "eventType": what}, block=at),
        fid,
        st.sampled_from(("0x" + "c1" * 20, "0x" + "c2" * 20)),
        st.sampled_from(("Register", "Transfer", "ChangeRecovery")),
        st.sampled_from((1, 2, 3)),
    )
    adds = st.one_of(own_cast, reactions, links, fields, verified)
    removes: st.SearchStrategy[Json] = st.one_of(
        st.builds(lambda f, c, t: cast_remove(f, c["hash"], t), fid, cast, time),
        st.builds(lambda f, g, k, t: reaction(f, g, k, t, add=False), fid, target, kind, time),
        st.builds(lambda f, g, t, k: link(f, g, t, k, add=False), fid, any_fid, time, link_type),
        st.builds(lambda f, a, t: verification_remove(f, a[0], t, a[1]), fid, st.sampled_from(ADDRESSES), time),
    )
    compactions = st.builds(compact_state, fid, st.lists(any_fid, min_size=1, max_size=3), time, link_type)
    return st.one_of(
        st.builds(merge, adds),
        st.builds(merge, adds),
        st.builds(merge, adds, adds),
        st.builds(merge, removes),
        st.builds(merge, removes, adds),
        st.builds(merge, compactions),
        st.builds(prune, st.one_of(adds, removes)),
        st.builds(revoke, adds),
        st.builds(merge_proof, st.one_of(ens, fname)),
        st.builds(merge_proof, ens, ens),
        st.builds(lambda gone: merge_proof(None, gone), ens),
        st.builds(merge_chain, registered),
        st.builds(failure, adds),
    )


@st.composite
def logs(draw: st.DrawFn) -> Log:
    return {
        shard: blocks_of(
            *draw(st.lists(st.lists(changing(fids), max_size=4), min_size=6, max_size=6)),
            shard=shard,
            first_height=1_000 * shard,
        )
        for shard, fids in HOME.items()
    }


def quiet_counters(replica: FoldedDatabase) -> list[tuple[str, int]]:
    """Rows written so far per table of ours, when every other connection has gone and so reported.

    Quarantine is left out: it notes when a record was seen last.
    """
    replica.engine.dispose()
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    while replica.rows(others)[0][0]:
        sleep(0.01)
    return [
        tuple(row)
        for row in replica.rows(
            "SELECT schemaname || '.' || relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables "
            "WHERE schemaname IN ('public', 'pipeline') AND relname <> 'quarantine' ORDER BY 1"
        )
    ]


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(log=logs(), rng=st.randoms(use_true_random=False))
def test_any_order_repetition_and_cutting_gives_the_same_tables(
    folded_database: FoldedDatabase, writer: FoldSession, log: Log, rng: Random
) -> None:
    check_any_order(folded_database, writer, log, rng)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(log=logs(), rng=st.randoms(use_true_random=False))
def test_many_orders_repetitions_and_cuttings_give_the_same_tables(
    folded_database: FoldedDatabase, writer: FoldSession, log: Log, rng: Random
) -> None:
    check_any_order(folded_database, writer, log, rng)


def check_any_order(folded_database: FoldedDatabase, writer: FoldSession, log: Log, rng: Random) -> None:
    reference = fold_in_order(folded_database, writer, log)
    assert fold_anyhow(folded_database, writer, log, rng) == reference
    refold_everything(writer, log)
    assert folded_database.dump() == reference
    assert folded_database.quarantined() == []


@pytest.mark.slow
def test_a_generated_log_in_any_order_and_a_second_replay_writes_nothing(database: Database) -> None:
    ensure_schema(database.engine)
    replica = FoldedDatabase(database.url, database.engine)
    log = generated_log(seed=11, events=1_500)
    with FoldSession(replica.url, "generated") as session:
        reference = fold_in_order(replica, session, log, shard_count=2)
        assert all(reference[table] for table in STATE_TABLES), "the log leaves a table empty"
        for seed in range(2):
            assert fold_anyhow(replica, session, log, Random(seed), shard_count=2) == reference

    before = quiet_counters(replica)
    assert sum(written for _, written in before) > 1_500
    places = {t: replica.rows(f"SELECT ctid::text, xmin::text FROM {t} ORDER BY 1") for t in STATE_TABLES}
    with FoldSession(replica.url, "again") as session:
        refold_everything(session, log, shard_count=2)
    assert quiet_counters(replica) == before
    assert {t: replica.rows(f"SELECT ctid::text, xmin::text FROM {t} ORDER BY 1") for t in STATE_TABLES} == places
    assert replica.dump() == reference
