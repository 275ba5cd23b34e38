"""Odd and broken input about channels: the row or the quarantine entry that a user would expect."""

from typing import Any

import pytest

from fc_pipeline_tests.support.channels import (
    channel_id,
    channel_member,
    channel_moderate,
    channel_pin,
    channel_update,
    follow,
    id_bytes,
    registered,
    transferred,
)
from fc_pipeline_tests.support.events import NOW, Json, merge, merge_chain, message
from fc_pipeline_tests.support.folded import FoldedDatabase

OWNER = "0x" + "a1" * 20
BUYER = "0x" + "b2" * 20
CAST = "0x" + "c3" * 20
COLUMNS = "channel_key, owner_address, fid"


def test_names_that_differ_in_case_are_two_channels(replica: FoldedDatabase) -> None:
    replica.fold([merge_chain(registered(name, OWNER, block=n)) for n, name in enumerate(("Cats", "cats", "çats"), 1)])
    assert sorted(replica.live("channels", "channel_key, channel_id")) == sorted(
        (name, id_bytes(name)) for name in ("Cats", "cats", "çats")
    )


def test_what_is_about_a_channel_or_cast_that_nobody_knows_has_its_row(replica: FoldedDatabase) -> None:
    """Hubs do not check that a cast exists; and a message may come before the channel's registration."""
    replica.fold([merge(channel_moderate(1, "a", CAST)), merge(channel_member(1, "a", 2**40)), merge(follow(1, "a"))])
    assert replica.live("channel_moderations", "cast_hash, action") == [(bytes.fromhex(CAST[2:]), "hide")]
    # No hub of today accepts an FID above 32 bits; one that does is not lost.
    assert replica.live("channel_members", "fid, state") == [(2**40, "member")]
    assert replica.live("channel_follows", "fid, channel_id") == [(1, id_bytes("a"))]
    assert replica.live("channels", COLUMNS) == []
    assert replica.quarantined() == []


def changed(one: Json, **body: Any) -> Json:
    """The same message with other values in its body, or none where a value is None."""
    (key,) = (name for name in one["data"] if name.endswith("Body"))
    kept = {name: value for name, value in {**one["data"][key], **body}.items() if value is not None}
    return {**one, "data": {**one["data"], key: kept}}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (changed(channel_pin(1, "a", CAST), channelId="0x12"), "invalid"),
        (changed(channel_pin(1, "a", CAST), channelId="a" * 64), "invalid"),
        (changed(channel_pin(1, "a", CAST), channelId=None), "undecodable"),
        (changed(channel_pin(1, "a", CAST), castHash="0x12"), "invalid"),
        (changed(channel_moderate(1, "a", CAST), castHash="0x"), "invalid"),
        (channel_moderate(1, "a", CAST, "NONE"), "unknown_type"),
        (channel_moderate(1, "a", CAST, "SHOUT"), "unknown_type"),
        (channel_member(1, "a", 7, "NONE"), "unknown_type"),
        (channel_member(1, "a", 0), "undecodable"),
        (channel_member(1, "a", 2**63), "undecodable"),
        (channel_update(1, "a", castingMode="CASTING_MODE_SHOUT"), "unknown_type"),
        (channel_update(1, "a", membershipMode="open"), "unknown_type"),
        (changed(channel_update(1, "a"), channelId="0x" + "00" * 33), "invalid"),
        (message("CHANNEL_UPDATE", 1, NOW, {}), "invalid"),
        (message("CHANNEL_MEMBER", 1, NOW, {}), "invalid"),
        (message("CHANNEL_PIN", 1, NOW, {}), "invalid"),
        (message("CHANNEL_MODERATE", 1, NOW, {}), "invalid"),
    ],
)
def test_what_no_row_can_hold_goes_to_quarantine_alone(replica: FoldedDatabase, bad: Json, reason: str) -> None:
    good = channel_member(1, "a", 8)
    replica.fold([merge(bad), merge(good)])
    assert [found for _, found in replica.quarantined()] == [reason]
    assert replica.live("channel_members", "fid, state") == [(8, "member")]
    for table in ("channel_pins", "channel_moderations", "channel_settings"):
        assert replica.rows(f"SELECT * FROM {table}") == []


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"label": None},
        {"label": 7},
        {"label": "0x12"},
        {"label": "0x" + "zz" * 32},
        {"label": channel_id("a") + "00" * 4_000},
        {"label": channel_id("a") * 400},
        {"eventType": None},
        {"eventType": "CHANNEL_REGISTER_EVENT_TYPE_MELT"},
        {"eventType": "CHANNEL_REGISTER_EVENT_TYPE_REGISTER", "ownerAddress": "0x"},
        {"eventType": "CHANNEL_REGISTER_EVENT_TYPE_TRANSFER", "ownerAddress": "0x12"},
        {"eventType": "CHANNEL_REGISTER_EVENT_TYPE_TRANSFER", "ownerAddress": ["x"]},
    ],
)
def test_a_contract_event_of_an_odd_body_changes_no_channel(replica: FoldedDatabase, odd: Json) -> None:
    event = transferred("a", BUYER, block=9)
    body = {**event["channelRegisterEventBody"], **odd} if odd else []
    replica.fold(
        [merge_chain(registered("a", OWNER, block=1)), merge_chain({**event, "channelRegisterEventBody": body})]
    )
    assert replica.live("channels", COLUMNS) == [("a", OWNER, None)]
    assert replica.rows("SELECT count(*) FROM on_chain_events")[0][0] == 2


@pytest.mark.parametrize("odd", [-1, 10**15, 10**40, "soon", None, 1.5, [1]])
def test_an_odd_expiry_is_unknown(replica: FoldedDatabase, odd: Any) -> None:
    event = registered("a", OWNER, block=1)
    event["channelRegisterEventBody"]["expiry"] = odd
    replica.fold([merge_chain(event)])
    assert replica.live("channels", "channel_key, expires_at") == [("a", None)]


def test_a_name_too_long_for_an_index_is_left_out(replica: FoldedDatabase) -> None:
    event = registered("a", OWNER, block=1)
    event["channelRegisterEventBody"]["channelKey"] = "".join(map(chr, range(1_000, 4_000)))
    replica.fold([merge_chain(event)])
    assert replica.live("channels", COLUMNS) == [(None, OWNER, None)]
