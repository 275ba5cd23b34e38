"""Channels: who owns them, how they are set up, and who is what in them, by one shard's order."""

from typing import Any

import pytest

from fc_pipeline_tests.support.channels import (
    channel_member,
    channel_moderate,
    channel_pin,
    channel_update,
    id_bytes,
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

OWNER = "0x" + "a1" * 20
BUYER = "0x" + "b2" * 20
CAST = "0x" + "c3" * 20
OTHER_CAST = "0x" + "d4" * 20


def channels(replica: FoldedDatabase, columns: str = "channel_key, owner_address, fid") -> list[tuple[Any, ...]]:
    return replica.live("channels", columns)


def expiry(replica: FoldedDatabase) -> int:
    ((found,),) = replica.rows("SELECT extract(epoch FROM expires_at)::bigint FROM channels")
    return found


def test_the_last_message_of_a_slot_decides_whoever_signed_it_and_whatever_time_it_claims(
    replica: FoldedDatabase,
) -> None:
    first, second = channel_pin(1, "a", CAST, NOW + 9), channel_pin(2, "a", OTHER_CAST, NOW)
    replica.fold([merge(first), merge(second, first)], [merge(channel_member(1, "a", 7, "ADD_MODERATOR"))])
    replica.fold_blocks(blocks_of([merge(channel_member(2, "a", 7, "BAN", NOW - 9))], first_height=2_000))
    assert replica.live("channel_pins", "cast_hash, fid") == [(bytes.fromhex(OTHER_CAST[2:]), 2)]
    assert replica.live("channel_members", "fid, state, author_fid") == [(7, "banned", 2)]


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("ADD_MEMBER", "member"),
        ("REMOVE_MODERATOR", "member"),
        ("ADD_MODERATOR", "moderator"),
        ("REMOVE_MEMBER", "removed"),
        ("UNBAN", "removed"),
        ("BAN", "banned"),
    ],
)
def test_every_action_leads_to_its_state(replica: FoldedDatabase, action: str, state: str) -> None:
    replica.fold([merge(channel_member(1, "a", 7, action))])
    assert replica.live("channel_members", "channel_id, fid, state") == [(id_bytes("a"), 7, state)]


def test_a_message_that_was_replaced_and_is_sent_again_wins_again(replica: FoldedDatabase) -> None:
    first, second = channel_update(1, "a", name="One"), channel_update(1, "a", name="Two", timestamp=NOW + 5)
    replica.fold([merge(first)], [merge(second, first)], [merge(first, second)])
    assert replica.live("channel_settings", "name, channel_id") == [("One", id_bytes("a"))]


def test_the_copies_of_the_other_shards_count_for_nothing(replica: FoldedDatabase) -> None:
    """Their ids are higher here, and their order would put the older message back."""
    first, second = channel_moderate(1, "a", CAST), channel_moderate(1, "a", CAST, "UNHIDE")
    replica.fold_blocks(blocks_of([merge(first), merge(second, first)]))
    replica.fold_blocks(blocks_of([merge(first)], shard=2, first_height=9_000), shard=2)
    assert replica.live("channel_moderations", "action, fid") == [("unhide", 1)]


def test_an_update_replaces_the_whole_configuration(replica: FoldedDatabase) -> None:
    """What is left out is unset, modes that are left out or NONE are the defaults, and "" is not unset."""
    whole = channel_update(
        1,
        "a",
        name="A",
        description="d",
        imageUrl="i",
        header="h",
        rules="r",
        castingMode="CASTING_MODE_RECOMMENDED",
        membershipMode="MEMBERSHIP_MODE_OPEN",
    )
    columns = "name, description, image_url, header, rules, casting_mode, membership_mode"
    replica.fold([merge_chain(registered("a", OWNER, block=1)), merge(whole)])
    expected = ("A", "d", "i", "h", "r", "recommended", "open")
    assert replica.live("channel_settings", columns) == channels(replica, columns) == [expected]
    part = channel_update(1, "a", description="", castingMode="CASTING_MODE_NONE", name=None)
    replica.fold_blocks(blocks_of([merge(part, whole)], first_height=2_000))
    expected = (None, "", None, None, None, "members_only", "approval")
    assert replica.live("channel_settings", columns) == channels(replica, columns) == [expected]


def test_a_pin_of_nothing_leaves_a_row_without_a_cast(replica: FoldedDatabase) -> None:
    replica.fold([merge(channel_pin(1, "a", CAST))], [merge(channel_pin(2, "a", "0x"), channel_pin(1, "a", CAST))])
    assert replica.live("channel_pins", "cast_hash, fid") == [(None, 2)]


REGISTERED = registered("a", OWNER, block=5, log_index=3, expiry=1_900_000_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("events", "owner", "expires"),
    [
        ([REGISTERED], OWNER, 1_900_000_000),
        ([REGISTERED, renewed("a", block=6, expiry=1_950_000_000)], OWNER, 1_950_000_000),
        ([REGISTERED, transferred("a", BUYER, block=6)], BUYER, 1_900_000_000),
        # The mint comes before its registration, in the same transaction.
        ([transferred("a", BUYER, block=5, log_index=2), REGISTERED], OWNER, 1_900_000_000),
        ([renewed("a", block=4, expiry=1_950_000_000), REGISTERED], OWNER, 1_900_000_000),
        (
            [REGISTERED, transferred("a", BUYER, block=6), registered("a", OWNER, block=7, expiry=1_960_000_000)],
            OWNER,
            1_960_000_000,
        ),
    ],
)
def test_the_registry_is_folded_in_the_order_of_the_chain(
    replica: FoldedDatabase, events: list[Json], owner: str, expires: int
) -> None:
    for chosen in (events, events[::-1]):
        replica.empty()
        for height, event in enumerate(chosen, 1_000):
            replica.fold_blocks(blocks_of([merge_chain(event)], first_height=height))
        assert channels(replica) == [("a", owner, None)]
        assert expiry(replica) == expires
        ((seconds,),) = replica.rows("SELECT extract(epoch FROM registered_at)::bigint FROM channels")
        assert seconds == REGISTERED["blockTimestamp"]


def test_a_channel_that_was_only_transferred_or_renewed_is_none(replica: FoldedDatabase) -> None:
    replica.fold([merge_chain(transferred("a", OWNER, block=1)), merge_chain(renewed("b", block=1, expiry=1))])
    assert channels(replica) == []


def test_the_owner_is_whose_verification_of_the_address_is_the_newest(replica: FoldedDatabase) -> None:
    """Of equal times the higher hash; without any the channel is parked. The others' shards tell of theirs."""

    def fold(shard: int, height: int, *events: Event) -> list[tuple[Any, ...]]:
        replica.fold_blocks(blocks_of(list(events), shard=shard, first_height=height), shard)
        return channels(replica)

    at_once = sorted((verification(fid, OWNER.upper().replace("X", "x"), NOW + 5) for fid in (2, 3)), key=_hash)
    winner = at_once[1]["data"]["fid"]
    assert fold(1, 1_000, merge(verification(1, OWNER))) == []
    assert fold(1, 1_001, merge_chain(registered("a", OWNER, block=1))) == [("a", OWNER, 1)]
    assert fold(2, 1_000, *map(merge, at_once)) == [("a", OWNER, winner)]
    assert fold(1, 1_002, merge_chain(transferred("a", BUYER, block=2))) == [("a", BUYER, None)]
    assert fold(2, 1_001, merge(verification(4, BUYER))) == [("a", BUYER, 4)]
    assert fold(2, 1_002, merge(verification_remove(4, BUYER, NOW + 1))) == [("a", BUYER, None)]
    assert fold(1, 1_003, merge_chain(transferred("a", OWNER, block=3))) == [("a", OWNER, winner)]
    assert fold(2, 1_003, *map(prune, at_once)) == [("a", OWNER, 1)]


def _hash(one: Json) -> str:
    return one["hash"]


def test_of_the_same_verification_by_two_the_lower_fid_owns(replica: FoldedDatabase) -> None:
    same = {"hash": "0x" + "77" * 20}
    events = [merge({**verification(fid, OWNER), **same}) for fid in (9, 8)]
    replica.fold([merge_chain(registered("a", OWNER, block=1)), *events])
    assert channels(replica) == [("a", OWNER, 8)]


def test_a_solana_address_owns_nothing(replica: FoldedDatabase) -> None:
    replica.fold([merge_chain(registered("a", OWNER, block=1)), merge(verification(1, OWNER, protocol="SOLANA"))])
    assert channels(replica) == [("a", OWNER, None)]
