"""Digests of FIDs: what makes them old, what damage they show, and what is not theirs to know."""

from collections.abc import Iterator
from random import Random

import pytest
import sqlalchemy as sa

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.live_set.digests import DigestKeeper
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fname_leaf, message_leaf
from fc_pipeline.proof.trie import FID_DEPTH, Node
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.link_compactions import SCOPED_SINCE
from fc_pipeline_tests.support.any_order import Log, generated_log
from fc_pipeline_tests.support.events import (
    NOW,
    blocks_of,
    cast_add,
    cast_remove,
    compact_state,
    link,
    merge,
    merge_proof,
    micro_batch,
    proof,
    prune,
    revoke,
    verification,
)
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.live_sets import LiveSet
from fc_pipeline_tests.support.postgres import Database

SHARDS = (1, 2)
ELSEWHERE = 1_000_000
"""Far from the FIDs of the log."""
TABLES = ("casts", "links", "on_chain_events", "pipeline.other_leaves", "reactions", "user_data", "verifications")


@pytest.fixture(scope="module")
def log() -> Log:
    return generated_log(9, 4_000)


@pytest.fixture
def session(replica: FoldedDatabase) -> Iterator[FoldSession]:
    with FoldSession(replica.url, "digests") as opened:
        yield opened


def fold(session: FoldSession, log: Log) -> None:
    for shard in SHARDS:
        session.fold(micro_batch(log[shard], shard=shard, shard_count=len(SHARDS)))


def damage(connection: sa.Connection, rng: Random, table: str) -> tuple[str | None, int]:
    """Damage one live row of a table: take it away, forge it, or give it to another user; its place then, and whose."""
    # Of a compact state that a later one replaced, and of a remove that one masks, there is no leaf.
    is_leaf = "deleted_at IS NULL" + (" AND link_type IS NULL" if table == "pipeline.other_leaves" else "")
    places = connection.execute(sa.text(f"SELECT ctid::text FROM {table} WHERE {is_leaf} ORDER BY 1")).scalars().all()
    place = f"'{rng.choice(places)}'::tid"
    connection.execute(sa.text(f"CREATE TABLE kept AS SELECT * FROM {table} WHERE ctid = {place}"))
    forged = {
        "on_chain_events": "log_index = log_index + 100000",
        "pipeline.other_leaves": "leaf = set_byte(leaf, 20, get_byte(leaf, 20) # 1)",
    }.get(table, "hash = set_byte(hash, 19, get_byte(hash, 19) # 1)")
    change = rng.choice(("", "deleted_at = now()", forged, f"fid = fid + {ELSEWHERE}"))
    statement = f"UPDATE {table} SET {change}" if change else f"DELETE FROM {table}"
    left, fid = connection.execute(sa.text(f"{statement} WHERE ctid = {place} RETURNING ctid::text, fid")).one()
    return left if change else None, fid


def restore(connection: sa.Connection, table: str, place: str | None) -> None:
    if place is not None:
        connection.execute(sa.text(f"DELETE FROM {table} WHERE ctid = '{place}'::tid"))
    connection.execute(sa.text(f"INSERT INTO {table} SELECT * FROM kept"))
    connection.execute(sa.text("DROP TABLE kept"))


def touch(connection: sa.Connection, fid: int) -> None:
    fids = [fid, fid - ELSEWHERE, fid + ELSEWHERE]
    note = sa.text("INSERT INTO pipeline.touched_fids (shard, fids) SELECT s, :fids FROM generate_series(1, 2) AS s")
    connection.execute(note, {"fids": fids})


@pytest.mark.parametrize("damages", [42, pytest.param(300, marks=pytest.mark.slow)])
def test_every_damaged_row_shows_in_the_root(
    replica: FoldedDatabase, session: FoldSession, log: Log, damages: int
) -> None:
    fold(session, log)
    found = LiveSet(replica.url)
    found.refresh()
    sound = found.roots()
    rng = Random(1)
    with DigestKeeper(replica.url, "damage", len(SHARDS)) as keeper, LiveSetView(replica.url, "d", len(SHARDS)) as view:

        def roots() -> dict[int, Node]:
            keeper.refresh()
            with view.one_moment() as states:
                return {state.shard: state.root for state in states}

        for number in range(damages):
            table = TABLES[number % len(TABLES)]
            with replica.engine.begin() as connection:
                place, fid = damage(connection, rng, table)
                touch(connection, fid)
            assert roots() != sound, (number, table)
            with replica.engine.begin() as connection:
                restore(connection, table, place)
                touch(connection, fid)
            assert roots() == sound, (number, table)


def test_what_was_changed_by_hand_shows_once_all_digests_are_made_anew(
    replica: FoldedDatabase, session: FoldSession, log: Log
) -> None:
    fold(session, log)
    found = LiveSet(replica.url)
    found.refresh()
    sound = found.roots()
    with replica.engine.begin() as connection:
        connection.execute(
            sa.text("DELETE FROM casts WHERE hash = (SELECT min(hash) FROM casts WHERE deleted_at IS NULL)")
        )
    assert found.refresh() == 0
    assert found.roots() == sound
    found.refresh(all_fids=True)
    assert found.roots() != sound


def leaf(message: dict[str, object], number: int) -> bytes:
    return message_leaf(number, bytes.fromhex(str(message["hash"])[2:]))


def leaves(replica: FoldedDatabase, fid: int, shard: int = 1) -> set[bytes]:
    return {key[FID_PREFIX_BYTES:] for key in LiveSet(replica.url).keys(shard, [fid])}


FID = 5  # at home on shard 1 of 2


def test_a_remove_is_a_leaf_until_it_is_pruned(replica: FoldedDatabase, session: FoldSession) -> None:
    cast = cast_add(FID)
    remove = cast_remove(FID, cast["hash"])
    blocks = blocks_of([merge(cast)], [merge(remove, cast)], [prune(remove)])
    heights = sorted(blocks)
    expected = [{leaf(cast, 1)}, {leaf(remove, 2)}, set()]
    for height, known in zip(heights, expected, strict=True):
        session.fold(micro_batch(blocks, height, height, shard_count=2))
        assert leaves(replica, FID) == known


@pytest.mark.parametrize("kind", ["follow", "block"])
@pytest.mark.parametrize("is_scoped", [True, False])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_compact_state_takes_older_removes_and_the_state_before_it(
    replica: FoldedDatabase, session: FoldSession, kind: str, is_scoped: bool, order: tuple[int, ...]
) -> None:
    at = NOW if is_scoped else SCOPED_SINCE - 100
    remove = link(FID, 7, at, kind, add=False)
    first, second = compact_state(FID, [7], at), compact_state(FID, [7, 8], at + 1)
    late = link(FID, 9, at + 2, kind, add=False)
    blocks = blocks_of([merge(remove), merge(late)], [merge(first)], [merge(second)])
    heights = sorted(blocks)
    for place in order:
        session.fold(micro_batch(blocks, heights[place], heights[place], shard_count=2))
    is_masked = kind == "follow" or not is_scoped
    assert leaves(replica, FID) == {leaf(second, 14), leaf(late, 6)} | (set() if is_masked else {leaf(remove, 6)})


def test_a_revoked_compact_state_leaves_none(replica: FoldedDatabase, session: FoldSession) -> None:
    first, second = compact_state(FID, [7], NOW), compact_state(FID, [8], NOW + 1)
    blocks = blocks_of([merge(first)], [merge(second)], [revoke(second)])
    for height in sorted(blocks, reverse=True):
        session.fold(micro_batch(blocks, height, height, shard_count=2))
    assert leaves(replica, FID) == set()


def test_an_fname_is_a_leaf_of_its_holder_on_each_shard_that_tells_of_it(
    replica: FoldedDatabase, session: FoldSession
) -> None:
    given, moved = proof("alice", 5, 1_700_000_000), proof("alice", 6, 1_700_000_001)
    renewed = proof("alice", 6, 1_700_000_002)
    blocks = blocks_of([merge_proof(given)], [merge_proof(moved, given)], [merge_proof(renewed, moved)])
    heights = sorted(blocks)
    of_name = {fname_leaf("alice")}
    for height, holders in zip(heights, [(of_name, set()), (set(), of_name), (set(), set())], strict=True):
        session.fold(micro_batch(blocks, height, height, shard_count=2))
        assert (leaves(replica, 5), leaves(replica, 6)) == holders
    assert leaves(replica, 5, shard=2) == set()


def test_a_verification_of_a_user_at_home_elsewhere_is_a_leaf_where_it_was_told(
    replica: FoldedDatabase, session: FoldSession
) -> None:
    stranger = 6  # at home on shard 2 of 2
    one = verification(stranger, "0x" + "aa" * 20)
    blocks = blocks_of([merge(one)], [prune(one)])
    heights = sorted(blocks)
    session.fold(micro_batch(blocks, heights[0], heights[0], shard_count=2))
    assert leaves(replica, stranger) == {leaf(one, 7)}
    assert leaves(replica, stranger, shard=2) == set()
    session.fold(micro_batch(blocks, heights[1], heights[1], shard_count=2))
    assert leaves(replica, stranger) == set()


def test_digests_that_were_dropped_are_made_of_all_fids_again(empty_database: Database, log: Log) -> None:
    ensure_schema(empty_database.engine)
    with FoldSession(empty_database.url, "lost") as session:
        fold(session, log)
    found = LiveSet(empty_database.url)
    found.refresh()
    sound = found.roots()
    with empty_database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE pipeline.fid_digests"))
    ensure_schema(empty_database.engine)
    assert found.roots() != sound
    found.refresh()
    assert found.roots() == sound


def test_a_view_stays_at_its_moment_and_has_the_nodes_below_the_root(
    replica: FoldedDatabase, session: FoldSession, log: Log
) -> None:
    heights = sorted(log[1])
    half = heights[len(heights) // 2]
    session.fold(micro_batch(log[1], heights[0], half, 1, shard_count=len(SHARDS)))
    LiveSet(replica.url).refresh()
    with LiveSetView(replica.url, "view", len(SHARDS)) as view, view.one_moment() as (state,):
        before = state.root
        session.fold(micro_batch(log[1], half + 1, heights[-1], 1, shard_count=len(SHARDS)))
        LiveSet(replica.url).refresh()
        parts = [(number, state.fids(number)) for number in range(256)]
        of_fids = [listed for _, part in parts for listed in part.listed()]
        assert sum(node.leaf_count for _, node in of_fids) == before.leaf_count
        for prefix, node in of_fids:
            assert next(state.leaves(prefix).at(FID_DEPTH).listed()) == (prefix, node)
        assert (state.height, view.leaves_of(1, FID) != []) == (half, True)
    assert LiveSet(replica.url).roots()[1] != before
