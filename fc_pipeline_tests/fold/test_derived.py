"""Tables that follow from others, in any order: keys, apps of messages, rents, purchases, embeds; and what is lent."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Blocks,
    Event,
    Json,
    blocks_of,
    cast_add,
    cast_remove,
    chain_event,
    merge,
    merge_chain,
    message,
    micro_batch,
    prune,
    user_data,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

FID, APP, OTHER_APP = 7, 9152, 309857
KEY = message("CAST_ADD", FID, NOW, {})["signer"]
LIVE_KEYS = "app_fid, key_type, removed_at IS NULL"


def request(app_fid: int, offset: int = 32) -> str:
    """A signed key request as the key registry's events carry it: ABI words, base64 (protocol-tables 1.1)."""
    words = (offset, app_fid, 0, 128, 0, 65)
    return b64encode(b"".join(word.to_bytes(32) for word in words) + bytes(96)).decode()


def key_event(change: str, block: int, metadata: str = "", *, key: str = KEY, log_index: int = 0, **body: Any) -> Event:
    content = {"key": key, "keyType": 1 if change == "ADD" else 0, "eventType": f"SIGNER_EVENT_TYPE_{change}"}
    content |= {"metadata": metadata, "metadataType": 1 if change == "ADD" else 0, **body}
    return merge_chain(chain_event("signer", FID, content, block=block, log_index=log_index))


@dataclass(frozen=True)
class Folding:
    """A database, and one session that folds into it: opening one costs more than what a test folds."""

    replica: FoldedDatabase
    session: FoldSession

    def fold_in(self, blocks: Blocks, order: Iterable[int]) -> None:
        """Fold these heights, one after the other, into empty tables."""
        self.replica.empty()
        for height in order:
            self.session.fold(micro_batch(blocks, height, height))


@pytest.fixture
def folding(replica: FoldedDatabase) -> Iterator[Folding]:
    with FoldSession(replica.url, "derived") as session:
        yield Folding(replica, session)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("ADD", APP)], (APP, 1, True)),
        ([("ADD", APP), ("REMOVE", None)], (APP, 1, False)),
        ([("ADD", APP), ("REMOVE", None), ("ADD", OTHER_APP)], (OTHER_APP, 1, True)),
        ([("ADD", APP), ("REMOVE", None), ("ADMIN_RESET", None)], (APP, 1, True)),
        ([("ADD", APP), ("REMOVE", None), ("ADD", OTHER_APP), ("ADMIN_RESET", None)], (APP, 1, True)),
        ([("REMOVE", None)], (None, None, False)),
    ],
)
def test_the_state_of_a_key_is_that_of_its_events_by_block(
    folding: Folding, changes: list[tuple[str, int | None]], expected: tuple[object, ...]
) -> None:
    """Whatever order they come in; ADMIN_RESET restores the first add (protocol-tables 1.1)."""
    events = [key_event(kind, 5 + n, request(app) if app else "") for n, (kind, app) in enumerate(changes)]
    blocks = blocks_of(*([event] for event in events))
    for order in permutations(sorted(blocks)):
        folding.fold_in(blocks, order)
        assert folding.replica.live("signers", LIVE_KEYS) == [expected], order


@pytest.mark.parametrize(
    ("metadata", "app_fid"),
    [
        (request(APP), APP),
        ("", None),
        ("no base64!", None),
        (b64encode(b"short").decode(), None),
        (request(APP, offset=64), None),
        (request(2**63), None),
        (request(2**64), None),
        (request(0), 0),
    ],
    ids=["request", "none", "no base64", "short", "another layout", "above bigint", "above 64 bits", "zero"],
)
def test_metadata_that_is_no_request_names_no_app(replica: FoldedDatabase, metadata: str, app_fid: int | None) -> None:
    replica.fold([key_event("ADD", 5, metadata)])
    assert replica.live("signers", LIVE_KEYS) == [(app_fid, 1, True)]
    assert replica.quarantined() == []


@pytest.mark.parametrize(
    ("odd", "app_fid"),
    [({"metadata": None}, None), ({"metadata": 7}, None), ({"metadataType": None}, None), ({"metadataType": 2}, None),
     ({"metadata": request(APP)[:-8] + "####"}, None), ({}, APP)],
    ids=["no metadata", "a number", "no type", "another type", "cut off", "whole"],
)  # fmt: skip
def test_a_key_without_a_request_of_its_type_is_a_key_without_an_app(
    replica: FoldedDatabase, odd: Json, app_fid: int | None
) -> None:
    event = key_event("ADD", 5, request(APP))
    event["mergeOnChainEventBody"]["onChainEvent"]["signerEventBody"] |= odd
    replica.fold([event])
    assert replica.live("signers", LIVE_KEYS) == [(app_fid, 1, True)]
    assert replica.quarantined() == []


def test_a_key_event_of_another_chain_counts_as_one_of_the_registry(replica: FoldedDatabase) -> None:
    """The node chose whose events it takes in; they do not name their contract (protocol-tables 0, rule 5)."""
    event = key_event("ADD", 5, request(APP))
    event["mergeOnChainEventBody"]["onChainEvent"]["chainId"] = 8453
    replica.fold([event])
    assert replica.live("signers", LIVE_KEYS) == [(APP, 1, True)]


@pytest.mark.parametrize("key", ["", "0x", "0xzz", "0x" + "ab" * 65], ids=["empty", "no digits", "no hex", "too long"])
def test_a_key_event_without_a_key_is_kept_and_makes_no_key(replica: FoldedDatabase, key: str) -> None:
    replica.fold([key_event("ADD", 5, request(APP), key=key)])
    assert replica.live("signers", "fid, key") == []
    assert replica.live("on_chain_events", "fid, type") == [(FID, "signer")]


def test_an_auth_address_is_no_key_that_signs(replica: FoldedDatabase) -> None:
    replica.fold([key_event("ADD", 5, key="0x" + "ab" * 20, keyType=2)])
    assert replica.live("signers", LIVE_KEYS) == [(None, 2, True)]


def test_messages_say_their_app_whichever_comes_first(folding: Folding) -> None:
    """Also where the key is removed later; messages of a key that no event explains say none."""
    blocks = blocks_of(
        [key_event("ADD", 5, request(APP))],
        [merge(cast_add(FID)), merge(user_data(FID, "BIO", "hi"))],
        [key_event("REMOVE", 6)],
        [merge(cast_add(FID + 1))],
    )
    for order in permutations(sorted(blocks)):
        folding.fold_in(blocks, order)
        assert folding.replica.live("casts", "fid, app_fid") == [(FID, APP), (FID + 1, None)], order
        assert folding.replica.live("user_data", "fid, app_fid") == [(FID, APP)], order


def test_embeds_live_as_long_as_their_cast(folding: Folding) -> None:
    quoted = "0x" + "cd" * 20
    embeds = [{"url": "https://a.example"}, {"castId": {"fid": 3, "hash": quoted}}, {"url": "https://a.example"}]
    kept, gone = cast_add(FID, embeds=embeds), cast_add(FID, "gone", embeds=embeds)
    old = cast_add(FID, "old", embedsDeprecated=["https://b.example"])
    blocks = blocks_of([merge(kept), merge(gone)], [merge(old)], [merge(cast_remove(FID, gone["hash"]), gone)])
    for order in permutations(sorted(blocks)):
        folding.fold_in(blocks, order)
        found = folding.replica.live("embeds", "position, url, cast_fid, '0x' || encode(cast_hash, 'hex')")
        assert found == [
            (0, "https://a.example", None, None),
            (0, "https://b.example", None, None),
            (1, None, 3, quoted),
            (2, "https://a.example", None, None),
        ], order


def test_an_embed_that_no_column_holds_leaves_its_place(replica: FoldedDatabase) -> None:
    odd = [{"url": "x" * 3_000}, {"castId": {"fid": "many", "hash": "0xzz"}}, {}, "text", None]
    replica.fold([merge(cast_add(FID, embeds=odd))])
    assert replica.live("embeds", "position, url, cast_fid, cast_hash") == [(n, None, None, None) for n in range(5)]


def test_units_end_by_the_networks_rule(replica: FoldedDatabase) -> None:
    """By when they were rented, whatever the contract says (protocol-tables 2.1)."""
    times = [1_724_889_599, 1_724_889_600, 1_752_685_200, 1_782_147_599, 1_782_147_600]
    events = [
        {**chain_event("storage_rent", FID, {"payer": "0xab", "units": 2, "expiry": 1}, block=n), "blockTimestamp": at}
        for n, at in enumerate(times, start=1)
    ]
    replica.fold([merge_chain(event) for event in events])
    found = replica.live("storage_rents", "units, unit_type, extract(day FROM expires_at - rented_at)::int / 365")
    assert sorted(found) == [(2, "2024", 3), (2, "2025", 1), (2, "2025", 2), (2, "2025", 2), (2, "legacy", 4)]


def test_a_rent_whose_units_are_no_number_counts_nothing(replica: FoldedDatabase) -> None:
    replica.fold([merge_chain(chain_event("storage_rent", FID, {"payer": "0xab", "units": "many"}))])
    assert replica.live("storage_rents", "fid, units") == [(FID, None)]


def tier(block: int, at_unix: int, days: int, kind: str = "Pro") -> Event:
    event = {**chain_event("storage_rent", FID, block=block), "type": "EVENT_TYPE_TIER_PURCHASE"}
    body = {"payer": "0xab", "for_days": days, "tier_type": kind}
    return merge_chain({**event, "blockTimestamp": at_unix, "tier_purchase_event_body": body})


def test_one_purchase_follows_the_other(folding: Folding) -> None:
    day = 86_400
    blocks = blocks_of(
        [merge_chain(chain_event("id_register", FID, {"to": "0xab", "eventType": "Register", "from": "0x"}))],
        [tier(5, HOUR_UNIX, 30)],
        [tier(6, HOUR_UNIX + 10 * day, 30), tier(7, HOUR_UNIX, 1_000, "None")],
        [tier(8, HOUR_UNIX + 100 * day, 30)],
    )
    for order in permutations(sorted(blocks)):
        folding.fold_in(blocks, order)
        until = folding.replica.live("user_profiles", "fid, extract(epoch FROM pro_until)::bigint")
        assert until == [(FID, HOUR_UNIX + 130 * day)], order
    first_two = blocks_of([tier(5, HOUR_UNIX, 30), tier(6, HOUR_UNIX + 10 * day, 30)])
    folding.fold_in(first_two, sorted(first_two))
    assert folding.replica.live("tier_purchases", "for_days, tier_type") == [(30, "Pro"), (30, "Pro")]


def lend(fid: int, to_fid: int, units: int, kind: str = "UnitType2025") -> Json:
    body = {"toFid": to_fid, "numUnits": units, "unitType": kind}
    return message("LEND_STORAGE", fid, NOW + units, {"lendStorageBody": body})


def test_a_lend_lasts_until_it_is_ended(folding: Folding) -> None:
    first, more, end = lend(1, 2, 5), lend(1, 2, 7, "UnitTypeLegacy"), lend(1, 2, 0)
    blocks = blocks_of([merge(first)], [merge(more, first)], [merge(end, more), prune(end)])
    for order in permutations(sorted(blocks)):
        folding.fold_in(blocks, order)
        assert folding.replica.live("storage_lends", "fid, to_fid") == [], order
    folding.replica.empty()
    folding.replica.fold([merge(first), merge(lend(1, 1, 3)), merge(lend(3, 2, 1))])
    found = folding.replica.rows("SELECT fid, unit_type, rented, lent, borrowed, net FROM storage ORDER BY fid")
    assert found == [(1, "2025", 0, 8, 3, 3), (2, "2025", 0, 0, 6, 6), (3, "2025", 0, 1, 0, 0)]


def test_a_lend_of_nothing_lends_nothing_until_its_prune_comes(replica: FoldedDatabase) -> None:
    """Hubs send both in one block; a page may end between them."""
    first, end = lend(1, 2, 5), lend(1, 2, 0)
    blocks = blocks_of([merge(first)], [merge(end, first)], [prune(end)])
    *merged, pruned = sorted(blocks)
    replica.fold_blocks({height: blocks[height] for height in merged})
    assert replica.live("storage_lends", "fid, units") == [(1, 0)]
    assert {row.net for row in replica.rows("SELECT net FROM storage")} <= {0}
    replica.fold_blocks({pruned: blocks[pruned]})
    assert replica.live("storage_lends", "fid, to_fid") == []


def test_only_the_first_shards_copy_of_a_lend_counts(replica: FoldedDatabase) -> None:
    """The other shard's copy may come later than the end of the lend (protocol-tables 2.2)."""
    first, end = lend(1, 2, 5), lend(1, 2, 0)
    ours = blocks_of([merge(first)], [merge(end, first), prune(end)])
    theirs = blocks_of([merge(first)], shard=2, first_height=9_000)
    with FoldSession(replica.url, "derived") as session:
        session.fold(micro_batch(ours))
        session.fold(micro_batch(theirs, shard=2))
    assert replica.live("storage_lends", "fid, to_fid") == []


@pytest.mark.parametrize("change", [{"unitType": "UnitType1999"}, {"numUnits": -1}, {"toFid": 0}, {"toFid": 2**63}])
def test_a_lend_that_no_row_can_hold_is_quarantined(replica: FoldedDatabase, change: Json) -> None:
    body = {"toFid": 2, "numUnits": 1, "unitType": "UnitType2025", **change}
    replica.fold([merge(message("LEND_STORAGE", 1, NOW, {"lendStorageBody": body}))])
    assert replica.live("storage_lends", "fid, to_fid") == []
    assert len(replica.quarantined()) == 1
