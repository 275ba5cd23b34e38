"""What a fold keeps and what becomes of the set: within a micro-batch, in any order, with every kind of deletion."""

from base64 import b64encode
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.errors import ConfigError
from fc_pipeline.fold.outcomes import EventOutcomes
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.tables.link_compactions import SCOPED_SINCE
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.targets import directory, owner, sweep
from fc_pipeline.targets.owner import OwnerSettings
from fc_pipeline_tests.support.comparing import RULE
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR_UNIX,
    NOW,
    Event,
    Json,
    blocks_of,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    hex_hash,
    link,
    merge,
    merge_chain,
    merge_proof,
    micro_batch,
    proof,
    prune,
    reaction,
    user_data,
    verification,
)
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.random_operations import random_operation
from fc_pipeline_tests.support.small_hub import SmallHub

ROOT, FRIEND, STRANGER, OTHER = 1, 20, 30, 40
CLIENT = 9152


@pytest.fixture
def filtered(replica: FoldedDatabase, redis_url: str) -> Iterator["Filtered"]:
    with opened(replica, redis_url, OwnerSettings((ROOT,), (CLIENT,))) as made:
        yield made


class Filtered:
    """A replica of targets only, and a session that folds into it."""

    def __init__(self, replica: FoldedDatabase, redis_url: str, settings: OwnerSettings) -> None:
        self.replica = replica
        self.redis_url = redis_url
        owner.declare_mode(replica.engine, "set")
        owner.adopt(replica.engine, settings)
        self.session = FoldSession(replica.url, "test", targets=TargetAccess(redis_url))
        self.height = FIRST_HEIGHT

    def __enter__(self) -> "Filtered":
        self.session.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.session.__exit__(None, None, None)

    def fold(self, *events: Event) -> None:
        """One block as one micro-batch."""
        blocks = blocks_of(list(events), first_height=self.height)
        self.height += 1
        self.session.fold(micro_batch(blocks))

    def targets(self) -> dict[int, tuple[str, int | None]]:
        rows = self.replica.rows("SELECT fid, reason, via_fid FROM pipeline.targets")
        return {row.fid: (row.reason, row.via_fid) for row in rows}

    def complete(self) -> None:
        """Note that every history is complete, as if it had been fetched."""
        with self.replica.engine.begin() as connection:
            connection.execute(sa.text("UPDATE pipeline.targets SET synced_at = now()"))

    def texts(self) -> set[str]:
        return {row.text for row in self.replica.rows("SELECT text FROM casts WHERE deleted_at IS NULL")}


opened = Filtered


def sign_up(fid: int, client_fid: int = CLIENT, at: int = 1) -> Event:
    words = (0x20, client_fid, 0xAB << 152, 0x80, NOW, 65)
    metadata = b"".join(word.to_bytes(32, "big") for word in words) + b"s" * 96
    body = {
        "key": "0x" + f"{fid:064x}",
        "keyType": 1,
        "eventType": "SIGNER_EVENT_TYPE_ADD",
        "metadata": b64encode(metadata).decode(),
        "metadataType": 1,
    }
    return merge_chain(chain_event("signer", fid, body, block=at))


def test_a_follow_counts_from_the_moment_that_it_is_made(filtered: Filtered) -> None:
    filtered.fold(
        merge(cast_add(FRIEND, "before")),
        merge(link(ROOT, FRIEND)),
        merge(cast_add(FRIEND, "after")),
        merge(cast_add(STRANGER, "nobody asked")),
    )
    assert filtered.targets() == {ROOT: ("root", None), FRIEND: ("followed", ROOT)}
    # What lies before the follow within its micro-batch may be there already; the history brings it anyhow.
    assert filtered.texts() == {"before", "after"}


def test_an_unfollow_counts_from_the_moment_that_it_is_made(filtered: Filtered) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)))
    filtered.complete()
    filtered.fold(
        merge(cast_add(FRIEND, "still in")),
        merge(link(ROOT, FRIEND, NOW + 1, add=False)),
        merge(cast_add(FRIEND, "gone by now")),
    )
    assert filtered.targets() == {ROOT: ("root", None)}
    assert filtered.texts() == {"still in"}
    former = filtered.replica.rows("SELECT fid, reason, via_fid, settled_at FROM pipeline.former_targets")
    assert [tuple(row) for row in former] == [(FRIEND, "followed", ROOT, None)]


def test_who_is_followed_by_two_roots_stays_until_the_last_one_unfollows(filtered: Filtered) -> None:
    owner.add_root(filtered.replica.engine, [2], follows=True, most_followed=None)
    filtered.fold(merge(link(ROOT, FRIEND)), merge(link(2, FRIEND)))
    filtered.complete()
    filtered.fold(merge(link(ROOT, FRIEND, NOW + 1, add=False)))
    assert filtered.targets()[FRIEND] == ("followed", 2)
    filtered.fold(merge(link(2, FRIEND, NOW + 1, add=False)))
    assert FRIEND not in filtered.targets()


def test_a_compact_state_takes_out_whom_it_does_not_name(filtered: Filtered) -> None:
    filtered.fold(*(merge(link(ROOT, fid, SCOPED_SINCE)) for fid in (FRIEND, OTHER)))
    filtered.complete()
    filtered.fold(merge(compact_state(ROOT, [OTHER], SCOPED_SINCE + 1)), merge(cast_add(FRIEND, "too late")))
    assert set(filtered.targets()) == {ROOT, OTHER}
    assert filtered.texts() == set()


def test_a_pruned_follow_takes_out_whom_it_brought(filtered: Filtered) -> None:
    followed = link(ROOT, FRIEND)
    filtered.fold(merge(followed))
    filtered.complete()
    filtered.fold(prune(followed))
    assert set(filtered.targets()) == {ROOT}


def test_blocking_somebody_is_no_follow(filtered: Filtered) -> None:
    filtered.fold(merge(link(ROOT, FRIEND, kind="block")), merge(link(FRIEND, STRANGER)))
    assert set(filtered.targets()) == {ROOT}


def test_whom_a_followed_user_follows_is_no_target(filtered: Filtered) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)), merge(link(FRIEND, OTHER)), merge(cast_add(OTHER, "two hops away")))
    assert set(filtered.targets()) == {ROOT, FRIEND}
    assert filtered.texts() == set()


def test_who_signs_up_through_a_watched_app_is_a_root_at_once(filtered: Filtered) -> None:
    filtered.fold(
        sign_up(STRANGER, client_fid=777),
        sign_up(OTHER),
        merge(link(OTHER, FRIEND)),
        merge(cast_add(FRIEND, "followed by a user of the app")),
        merge(cast_add(STRANGER, "of another app")),
    )
    assert filtered.targets() == {
        ROOT: ("root", None),
        OTHER: ("client", CLIENT),
        FRIEND: ("followed", OTHER),
    }
    assert filtered.texts() == {"followed by a user of the app"}
    assert [row.fid for row in filtered.replica.rows("SELECT fid FROM on_chain_events")] == [OTHER]


def test_who_is_a_root_for_two_reasons_is_one_that_was_named(filtered: Filtered) -> None:
    filtered.fold(sign_up(OTHER))
    owner.add_root(filtered.replica.engine, [OTHER], follows=True, most_followed=None)
    assert filtered.targets()[OTHER] == ("root", None)
    owner.remove(filtered.replica.engine, [OTHER])
    assert filtered.targets()[OTHER] == ("client", CLIENT)


def test_metadata_that_is_no_signed_key_request_is_nobodys_sign_up(filtered: Filtered) -> None:
    for number, metadata in enumerate(("", "AAAA", "%%%", b64encode(b"x" * 96).decode())):
        body = {"eventType": "SIGNER_EVENT_TYPE_ADD", "metadata": metadata, "key": "0x01"}
        filtered.fold(merge_chain(chain_event("signer", OTHER, body, block=number)))
    assert set(filtered.targets()) == {ROOT}


def test_what_concerns_a_target_is_kept_whoever_did_it(filtered: Filtered) -> None:
    own = cast_add(ROOT, "own")
    parent = {"fid": ROOT, "hash": own["hash"]}
    filtered.fold(
        merge(own),
        merge(cast_add(STRANGER, "reply", parentCastId=parent)),
        merge(cast_add(STRANGER, "mention", mentions=[OTHER, ROOT], mentionsPositions=[0, 0])),
        merge(cast_add(STRANGER, "neither", mentions=[OTHER], mentionsPositions=[0])),
        merge(reaction(STRANGER, (ROOT, own["hash"]))),
        merge(reaction(STRANGER, (OTHER, hex_hash("other")))),
        merge(reaction(STRANGER, "https://a.example")),
        merge(link(STRANGER, ROOT)),
        merge(link(STRANGER, OTHER)),
        merge(user_data(STRANGER, "BIO", "who am I")),
        merge(verification(STRANGER, "0x" + "a1" * 20)),
        merge_proof(proof("stranger", STRANGER, HOUR_UNIX)),
        merge_chain(chain_event("id_register", STRANGER, {"to": "0x01", "eventType": "Register"})),
    )
    assert filtered.texts() == {"own", "reply", "mention"}
    counts = {
        name: filtered.replica.rows(f"SELECT count(*) FROM {name} WHERE deleted_at IS NULL")[0][0]
        for name in ("reactions", "links", "user_data", "verifications", "username_proofs", "on_chain_events")
    }
    assert counts == dict.fromkeys(counts, 0) | {"reactions": 1, "links": 1}
    assert {row.fid for row in filtered.replica.rows("SELECT fid FROM user_profiles")} == set()
    activity = filtered.replica.rows(
        "SELECT fid, casts, likes_received, replies_received, follows_received FROM fid_activity"
    )
    assert [tuple(row) for row in activity] == [(ROOT, 1, 1, 1, 1)]
    assert filtered.session.rows_filtered == 8
    # What is left of the stranger's name is written; BLOCK_CONFIRMED is the event without rows.
    assert filtered.session.outcomes == EventOutcomes(without_rows=1, quarantined=0, filtered=7, with_rows=6)
    assert filtered.session.events_written == 6


def test_each_event_is_counted_once_whatever_becomes_of_it(filtered: Filtered) -> None:
    overtaken = reaction(STRANGER, (ROOT, hex_hash("liked")))
    batch = micro_batch(
        blocks_of(
            [
                merge(link(ROOT, FRIEND)),  # merged ahead of the others, and once more with them
                sign_up(OTHER),
                merge(cast_add(FRIEND, "a target since a moment ago")),
                merge(cast_add(STRANGER, "of nobody")),
                merge(link(STRANGER, 50), link(STRANGER, 50)),  # a row and a tombstone of one event
                merge(overtaken),
                prune(overtaken),
                merge(compact_state(STRANGER, [51])),  # compact states are kept of everybody
                merge(cast_add(-1, "undecodable")),
            ],
            first_height=FIRST_HEIGHT,
        )
    )
    for fold, written in ((filtered.session.fold, 5), (filtered.session.refold, 0)):
        fold(batch)
        assert filtered.session.outcomes == EventOutcomes(without_rows=1, quarantined=1, filtered=2, with_rows=6)
        assert filtered.session.outcomes.events == batch.events
        assert filtered.session.events_written == written


def test_without_mentions_a_mention_is_not_enough(replica: FoldedDatabase, redis_url: str) -> None:
    with opened(replica, redis_url, OwnerSettings((ROOT,), mentions=False)) as filtered:
        gone = cast_add(STRANGER, "mention too", mentions=[ROOT], mentionsPositions=[0])
        filtered.fold(merge(cast_add(STRANGER, "mention", mentions=[ROOT], mentionsPositions=[0])), merge(gone))
        filtered.fold(prune(gone))
    assert replica.rows("SELECT hash FROM casts") == []


def test_a_strangers_reply_goes_whichever_way_it_goes(filtered: Filtered) -> None:
    own = cast_add(ROOT, "own")
    parent = {"fid": ROOT, "hash": own["hash"]}
    replies = [cast_add(STRANGER, f"reply {n}", parentCastId=parent) for n in range(3)]
    filtered.fold(merge(own), *map(merge, replies))
    filtered.fold(merge(cast_remove(STRANGER, replies[0]["hash"])), prune(replies[1]))
    assert filtered.texts() == {"own", "reply 2"}


def test_a_reply_that_was_removed_in_an_hour_folded_before_stays_away(filtered: Filtered) -> None:
    own = cast_add(ROOT, "own")
    reply = cast_add(STRANGER, "reply", parentCastId={"fid": ROOT, "hash": own["hash"]})
    pruned = cast_add(STRANGER, "pruned", parentCastId={"fid": ROOT, "hash": own["hash"]})
    filtered.height = FIRST_HEIGHT + 10
    filtered.fold(merge(cast_remove(STRANGER, reply["hash"])), prune(pruned))
    filtered.height = FIRST_HEIGHT
    filtered.fold(merge(own), merge(reply), merge(pruned))
    assert filtered.texts() == {"own"}


def test_a_name_that_passes_to_a_stranger_is_the_targets_no_more_in_any_order(filtered: Filtered) -> None:
    early, late = proof("name", ROOT, HOUR_UNIX), proof("name", STRANGER, HOUR_UNIX + 5)
    filtered.height = FIRST_HEIGHT + 10
    filtered.fold(merge_proof(late, early))
    filtered.height = FIRST_HEIGHT
    filtered.fold(merge_proof(early))
    rows = filtered.replica.rows("SELECT fid, deleted_reason FROM username_proofs")
    assert [tuple(row) for row in rows] == [(None, "not_target")]


def test_a_holder_who_becomes_a_target_gets_the_name_by_the_same_proof(filtered: Filtered) -> None:
    blocks = blocks_of([merge_proof(proof("name", FRIEND, HOUR_UNIX))], first_height=FIRST_HEIGHT)
    filtered.session.fold(micro_batch(blocks))
    owner.add_root(filtered.replica.engine, [FRIEND], follows=False, most_followed=None)
    with FoldSession(filtered.replica.url, "replay", targets=TargetAccess(None, frozenset({FRIEND}))) as session:
        session.refold(micro_batch(blocks))
        session.refold(micro_batch(blocks))
    rows = filtered.replica.rows("SELECT fid, deleted_at FROM username_proofs")
    assert [tuple(row) for row in rows] == [(FRIEND, None)]


def test_denied_users_are_no_targets_and_bring_nobody(filtered: Filtered) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)), sign_up(OTHER))
    owner.deny(filtered.replica.engine, [FRIEND, OTHER])
    filtered.fold(merge(link(OTHER, STRANGER)), merge(link(ROOT, FRIEND, NOW + 1)))
    assert set(filtered.targets()) == {ROOT}


def test_of_a_limited_root_the_longest_followed_count(replica: FoldedDatabase, redis_url: str) -> None:
    with opened(replica, redis_url, OwnerSettings((ROOT,), most_followed=2)) as filtered:
        filtered.fold(*(merge(link(ROOT, fid, NOW + fid)) for fid in (50, 51, 52, 53)))
        assert set(filtered.targets()) == {ROOT, 50, 51}
        filtered.complete()
        filtered.fold(merge(link(ROOT, 50, NOW + 60, add=False)))
        assert set(filtered.targets()) == {ROOT, 51, 52}
        with replica.engine.connect() as connection:
            assert "may bring only so many" in directory.why(connection, 53)[0]


def test_nobody_is_taken_out_for_the_sake_of_a_root_whose_follows_are_not_known_yet(filtered: Filtered) -> None:
    filtered.fold(merge(link(ROOT, FRIEND)))
    filtered.fold(merge(link(ROOT, FRIEND, NOW + 1, add=False)))
    assert FRIEND in filtered.targets()
    filtered.complete()
    owner.recompute_all(filtered.replica.engine)
    assert FRIEND not in filtered.targets()


def test_a_filter_of_nobody_is_an_error(replica: FoldedDatabase, redis_url: str) -> None:
    owner.declare_mode(replica.engine, "set")
    with pytest.raises(ConfigError, match="no root"):
        owner.adopt(replica.engine, OwnerSettings())
    with FoldSession(replica.url, "test", targets=TargetAccess(redis_url)) as session:
        with pytest.raises(ConfigError, match="the target set is empty"):
            session.fold(micro_batch(blocks_of([merge(cast_add(1))])))
        owner.adopt(replica.engine, OwnerSettings((ROOT,)))
        session.fold(micro_batch(blocks_of([merge(cast_add(ROOT))])))
    assert len(replica.rows("SELECT hash FROM casts")) == 1


def test_a_database_stays_in_its_mode(replica: FoldedDatabase) -> None:
    owner.declare_mode(replica.engine, "all")
    owner.declare_mode(replica.engine, "set")  # nothing was folded yet
    owner.declare_mode(replica.engine, "all")
    replica.fold([merge(cast_add(1))])
    with pytest.raises(ConfigError, match="filled with FC_TARGETS=all"):
        owner.declare_mode(replica.engine, "set")


HOME = {1: (1, 2), 2: (3, 4)}
LIVE = {
    name: ", ".join(c for c in table.names if c not in {"version", "deleted_at", "deleted_reason"})
    for name, table in MESSAGE_TABLES.items()
}


def live(replica: FoldedDatabase, *targets: int) -> dict[str, set[str]]:
    """Live rows of the message tables and profiles: of these targets by the rule, or all there are."""
    found: dict[str, set[str]] = {}
    for name, columns in {**LIVE, "user_profiles": "fid, username, bio"}.items():
        where = f"AND ({RULE.get(name, 'fid = ANY (:s)')})" if targets else ""
        query = f"SELECT ({columns})::text AS row FROM {name} WHERE deleted_at IS NULL {where}"
        values = {"s": list(targets)} if targets else {}
        found[name] = {row.row for row in replica.rows(query, **values)}
    return found


def said_by(rng: Random, fid: int, clock: int) -> Json:
    """An operation, or a cast that replies to somebody or mentions some."""
    if rng.random() < 0.75:
        return random_operation(rng, fid, clock)
    parent = {"fid": rng.choice((1, 2, 3, 4)), "hash": hex_hash("parent")} if rng.random() < 0.5 else None
    mentions = rng.sample((1, 2, 3, 4), rng.choice((0, 1, 2)))
    at = SCOPED_SINCE + rng.choice((0, 1))
    return cast_add(fid, "z", at, parentCastId=parent, mentions=mentions, mentionsPositions=[0] * len(mentions))


def log_of_course(rng: Random) -> SmallHub:
    hub = SmallHub(HOME)
    for clock in range(1, 50):
        if rng.random() < 0.15:
            known = [fid for fid in (1, 2, 3, 4) if hub.is_registered(fid)]
            hub.transfer(rng.choice(("a", "b")), rng.choice((0, *known)), clock, bytes([clock]) * 65)
        shard = rng.choice((1, 2))
        hub.add_block(shard, [said_by(rng, rng.choice(HOME[shard]), clock) for _ in range(rng.randint(0, 3))])
    for shard in HOME:
        hub.add_block(shard, [])
    return hub


def fold_all(session: FoldSession, hub: SmallHub, rng: Random | None = None) -> None:
    """Every block, in micro-batches of one or some; in order, or in any."""
    cuts: list[tuple[int, int, int]] = []
    for shard in HOME:
        heights = sorted(hub.blocks(shard))
        while heights:
            size = rng.choice((1, 1, 4)) if rng else 1
            cuts.append((shard, heights[0], heights[:size][-1]))
            heights = heights[size:]
    if rng:
        rng.shuffle(cuts)
    for shard, first, last in cuts:
        session.fold(micro_batch(hub.blocks(shard), first, last, shard))


def complete_all(replica: FoldedDatabase, hub: SmallHub) -> None:
    """As repair.targets does it, without snapshots: the whole log once more for new targets, until none is left."""
    for _ in range(10):
        pending = frozenset(r.fid for r in replica.rows("SELECT fid FROM pipeline.targets WHERE synced_at IS NULL"))
        if not pending:
            break
        with FoldSession(replica.url, "replay", targets=TargetAccess(None, pending)) as session:
            for shard in HOME:
                session.refold(micro_batch(hub.blocks(shard), shard=shard))
        with replica.engine.begin() as connection:
            done = sa.text("UPDATE pipeline.targets SET synced_at = now() WHERE fid = ANY (:fids)")
            connection.execute(done, {"fids": list(pending)})
        owner.recompute_all(replica.engine)
    sweep.settle_former(replica.engine, "drop")


@pytest.mark.slow
@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_in_any_order_the_rows_are_those_that_the_rule_selects_from_the_full_replica(
    folded_database: FoldedDatabase, writer: FoldSession, embedded_redis: Any, seed: int
) -> None:
    check_rows_are_those_of_the_rule(folded_database, writer, embedded_redis.url(), seed)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_in_many_orders_the_rows_are_those_that_the_rule_selects_from_the_full_replica(
    folded_database: FoldedDatabase, writer: FoldSession, embedded_redis: Any, seed: int
) -> None:
    check_rows_are_those_of_the_rule(folded_database, writer, embedded_redis.url(), seed)


def check_rows_are_those_of_the_rule(
    folded_database: FoldedDatabase, writer: FoldSession, redis_url: str, seed: int
) -> None:
    rng = Random(seed)
    hub = log_of_course(rng)
    folded_database.empty()
    fold_all(writer, hub)
    follows = "SELECT target_fid FROM links WHERE fid = 1 AND type = 'follow' AND deleted_at IS NULL"
    targets = sorted({1, *(row.target_fid for row in folded_database.rows(follows))})
    expected = live(folded_database, *targets)
    folded_database.empty()
    with opened(folded_database, redis_url, OwnerSettings((1,))) as filtered:
        fold_all(filtered.session, hub, rng)
        complete_all(folded_database, hub)
        assert sorted(filtered.targets()) == targets
        assert live(folded_database) == expected
