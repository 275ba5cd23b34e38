"""What cannot be folded: the batch goes on, each bad event is in quarantine once with reason and raw bytes."""

import json
from typing import Any

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR_UNIX,
    NOW,
    Event,
    block,
    blocks_of,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    event_batch,
    link,
    merge,
    merge_chain,
    merge_proof,
    message,
    micro_batch,
    proof,
    prune,
    raw,
    reaction,
    user_data,
    verification,
)
from fc_pipeline_tests.support.folded import FoldedDatabase


def edited(event: Event, **paths: Any) -> Event:
    """The event with values set at `__`-separated paths below its message (or body)."""
    copy = json.loads(json.dumps(event))
    for path, value in paths.items():
        at = copy
        *way, last = path.split("__")
        for key in way:
            at = at[key]
        at[last] = value
    return copy


def edited_message(added: Event, **paths: Any) -> Event:
    return edited(merge(added), **{f"mergeMessageBody__message__{path}": value for path, value in paths.items()})


def in_text(event: Event, old: str, new: str) -> bytes:
    """The event's JSON with a piece of its text replaced: what no JSON encoder writes."""
    text = raw(event, FIRST_HEIGHT, 2)
    assert text.count(old.encode()) == 1
    return text.replace(old.encode(), new.encode("latin-1"))


CAST = cast_add(1, "marked")
LONG = "0x" + "ab" * 3000

BAD: dict[str, tuple[str, Event | bytes]] = {
    "hash no hex": ("invalid", edited_message(CAST, hash="0x" + "zz" * 20)),
    "hash odd": ("invalid", edited_message(CAST, hash="0x" + "a" * 39)),
    "hash short": ("invalid", edited_message(CAST, hash="0x" + "ab" * 19)),
    "hash without 0x": ("invalid", edited_message(CAST, hash="ab" * 20)),
    "hash with a blank": ("invalid", edited_message(CAST, hash="0x" + "ab" * 19 + " a")),
    "signature no base64": ("invalid", edited_message(CAST, signature="!!!!")),
    "signature unpadded": ("invalid", edited_message(CAST, signature="YWI")),
    "parent hash short": ("invalid", merge(cast_add(1, parentCastId={"fid": 1, "hash": "0xab"}))),
    "remove of a hex hash": (
        "invalid",
        edited_message(cast_remove(1, CAST["hash"]), data__castRemoveBody__targetHash=CAST["hash"]),
    ),
    "remove without a target": (
        "invalid",
        edited_message(cast_remove(1, CAST["hash"]), data__castRemoveBody__targetHash=""),
    ),
    "missing body": ("invalid", merge(message("CAST_ADD", 1, NOW, {}))),
    "body of another type": (
        "invalid",
        merge(message("LINK_ADD", 1, NOW, {"userDataBody": {"type": "USER_DATA_TYPE_BIO", "value": "x"}})),
    ),
    "reaction without target": (
        "invalid",
        merge(message("REACTION_ADD", 1, NOW, {"reactionBody": {"type": "REACTION_TYPE_LIKE"}})),
    ),
    "compaction without body": ("invalid", merge(message("LINK_COMPACT_STATE", 1, NOW, {}))),
    "event without body": ("invalid", {"type": "HUB_EVENT_TYPE_PRUNE_MESSAGE"}),
    "proof event without proof": ("invalid", merge_proof()),
    "proof beyond year 9999": ("invalid", merge_proof(proof("x", 1, 10**12))),
    "parent URL too long for an index": ("invalid", merge(cast_add(1, parentUrl=LONG))),
    "target URL too long": ("invalid", merge(reaction(1, LONG))),
    "link type too long": ("invalid", merge(link(1, 2, kind=LONG))),
    "username too long": ("invalid", merge(user_data(1, "USERNAME", LONG))),
    "address too long": ("invalid", merge(verification(1, LONG))),
    "name too long": ("invalid", merge_proof(proof(LONG, 1, HOUR_UNIX))),
    "transaction hash too long": ("invalid", merge_chain({**chain_event("signer", 1), "transactionHash": LONG})),
    "embed number beyond numeric": (
        "invalid",
        in_text(merge(cast_add(1, embeds=[{"url": "MARK"}])), '"MARK"', "1e400000"),
    ),
    "embed number too small": ("invalid", in_text(merge(cast_add(1, embeds=[{"url": "MARK"}])), '"MARK"', "1e-99999")),
    "embed integer too long": ("invalid", in_text(merge(cast_add(1, embeds=["MARK"])), '"MARK"', "9" * 200_000)),
    "embed not UTF-8": ("invalid", in_text(merge(cast_add(1, embeds=["MARK"])), "MARK", "\xff\xfe")),
    "contract body number": (
        "invalid",
        in_text(merge_chain(chain_event("signer", 1, {"n": "MARK"})), '"MARK"', "1e400000"),
    ),
    "displaced message bad": ("invalid", merge(CAST, edited_message(CAST, hash="0xzz")["mergeMessageBody"]["message"])),
    "unknown event type": ("unknown_type", {"type": "HUB_EVENT_TYPE_NEW", "newBody": {}}),
    "unknown event type with a known body": ("unknown_type", {**merge(CAST), "type": "HUB_EVENT_TYPE_NEW"}),
    "unknown message type": ("unknown_type", merge(message("SOMETHING_NEW", 1, NOW, {}))),
    "unknown pruned type": ("unknown_type", prune(message("SOMETHING_NEW", 1, NOW, {}))),
    "unknown cast type": ("unknown_type", merge(cast_add(1, type="GIANT_CAST"))),
    "unknown reaction type": ("unknown_type", merge(reaction(1, "https://a.example", "NONE"))),
    "unknown user data type": ("unknown_type", merge(user_data(1, "NONE", "x"))),
    "unknown protocol": ("unknown_type", merge(verification(1, "0x" + "aa" * 20, protocol="BITCOIN"))),
    "verification type beyond integer": ("unknown_type", merge(verification(1, "0x" + "aa" * 20, type=2**40))),
    "unknown username type": ("unknown_type", merge_proof(proof("x", 1, HOUR_UNIX, "DNS"))),
    "unknown contract event": ("unknown_type", merge_chain({**chain_event("signer", 1), "type": "EVENT_TYPE_NONE"})),
    "FID above bigint": ("undecodable", merge(cast_add(2**63))),
    "mention above bigint": ("undecodable", merge(cast_add(1, mentions=[2**64 - 1], mentionsPositions=[0]))),
    "compaction target above bigint": ("undecodable", merge(compact_state(1, [2**63]))),
    "FID negative": ("undecodable", merge(cast_add(-1))),
    "timestamp too large": ("undecodable", merge(cast_add(1, timestamp=2**32))),
    "text not a string": ("undecodable", merge(cast_add(1, text=7))),  # pyright: ignore[reportArgumentType]
    "lone surrogate in text": ("undecodable", in_text(merge(CAST), "marked", "\\ud800 x")),
    "lone surrogate in embed": ("undecodable", in_text(merge(cast_add(1, embeds=["MARK"])), "MARK", "\\udc00")),
    "text not UTF-8": ("undecodable", in_text(merge(CAST), "marked", "\xff")),
    "raw NUL byte": ("undecodable", in_text(merge(CAST), "marked", "\x00")),
    "NaN": ("undecodable", in_text(merge(cast_add(1, embeds=["MARK"])), '"MARK"', "NaN")),
    "nesting": ("undecodable", in_text(merge(cast_add(1, embeds=["MARK"])), '"MARK"', "[" * 9000 + "]" * 9000)),
    "message missing": ("undecodable", {"type": "HUB_EVENT_TYPE_MERGE_MESSAGE", "mergeMessageBody": {}}),
    "no JSON": ("undecodable", b'{"type": "HUB_EVENT_TYPE_MERGE_MESSAGE", "id": 16384002, oops}'),
}


def test_bad_events_are_quarantined_once_and_the_others_land(replica: FoldedDatabase) -> None:
    contents = [
        [merge(cast_add(5, f"before {n}")), bad, merge(cast_add(5, f"after {n}"))]
        for n, (_, bad) in enumerate(BAD.values())
    ]
    heights = [FIRST_HEIGHT + n for n in range(len(BAD))]
    blocks = {}
    for height, content in zip(heights, contents, strict=True):
        bad = content[1]
        if isinstance(bad, bytes):
            content[1] = bad.replace(str(FIRST_HEIGHT << 14 | 2).encode(), str(height << 14 | 2).encode())
        blocks[height] = block(height, content)
    replica.fold_blocks(blocks)

    found = {row.event_id >> 14: row for row in replica.rows("SELECT * FROM pipeline.quarantine")}
    expected = {h: (reason, blocks[h][2]) for h, (reason, _) in zip(heights, BAD.values(), strict=True)}
    names = dict(zip(heights, BAD, strict=True))
    assert {names[h]: (row.reason, row.raw) for h, row in found.items()} == {
        names[h]: reason_and_raw for h, reason_and_raw in expected.items()
    }
    assert len(replica.rows("SELECT 1 FROM pipeline.quarantine")) == len(BAD)
    assert all(row.detail and row.shard == 1 and row.resolved_at is None for row in found.values())
    texts = {row.text for row in replica.rows("SELECT text FROM casts WHERE deleted_at IS NULL")}
    assert texts == {f"{place} {n}" for place in ("before", "after") for n in range(len(BAD))}
    assert replica.rows("SELECT sum(events) FROM pipeline.coverage")[0][0] == 4 * len(BAD)


NUL_CASES: dict[str, tuple[Event, str, str]] = {
    "text": (merge(cast_add(1, "a\x00b")), "SELECT text FROM casts", "ab"),
    "consecutive": (merge(cast_add(1, "\x00\x00a\x00")), "SELECT text FROM casts", "a"),
    "behind a backslash": (merge(cast_add(1, "\\\x00x")), "SELECT text FROM casts", "\\x"),
    "embed": (merge(cast_add(1, embeds=[{"url": "u\x00v"}])), "SELECT embeds->0->>'url' FROM casts", "uv"),
    "parent URL": (merge(cast_add(1, parentUrl="p\x00q")), "SELECT parent_url FROM casts", "pq"),
    "user data": (merge(user_data(1, "BIO", "b\x00io")), "SELECT bio FROM user_profiles", "bio"),
    "target URL": (merge(reaction(1, "r\x00s")), "SELECT target_url FROM reactions", "rs"),
    "link type": (merge(link(1, 2, kind="f\x00")), "SELECT type FROM links", "f"),
    "name": (merge_proof(proof("n\x00m", 1, HOUR_UNIX)), "SELECT name FROM username_proofs", "nm"),
    "contract body": (
        merge_chain(chain_event("signer", 1, {"metadata": "m\x00"})),
        "SELECT body->>'metadata' FROM on_chain_events",
        "m",
    ),
}


@pytest.mark.parametrize("case", NUL_CASES)
def test_a_text_with_nul_is_stored_without_it_and_noted(replica: FoldedDatabase, case: str) -> None:
    event, query, expected = NUL_CASES[case]
    blocks = blocks_of([event])
    replica.fold_blocks(blocks)
    assert replica.rows(query) == [(expected,)]
    noted = replica.rows("SELECT reason, raw, resolved_at IS NULL FROM pipeline.quarantine")
    assert noted == [("nul_removed", blocks[FIRST_HEIGHT][1], False)]  # nobody has to do anything
    with FoldSession(replica.url, "again") as session:
        session.refold(micro_batch(blocks))
    assert replica.rows("SELECT FROM pipeline.quarantine WHERE resolved_at IS NULL") == []


def test_nul_where_nothing_is_stored_is_not_noted(replica: FoldedDatabase) -> None:
    old, new = user_data(1, "BIO", "o\x00ld", NOW - 1), user_data(1, "BIO", "new")
    nul_cast = cast_add(1, "gone\x00")
    replica.fold([merge(new, old), prune(nul_cast), merge(cast_add(1, "literal \\u0000"))])
    assert replica.quarantined() == []
    assert replica.live("casts", "text, 1") == [("literal \\u0000", 1)]


def test_nul_in_an_event_that_is_refused_is_only_refused(replica: FoldedDatabase) -> None:
    replica.fold([edited_message(cast_add(1, "a\x00"), signature="!")])
    assert [reason for _, reason in replica.quarantined()] == ["invalid"]
    assert replica.rows("SELECT 1 FROM casts") == []


def test_a_record_without_an_id_does_not_disturb_its_predecessor(replica: FoldedDatabase) -> None:
    nameless = b'{"type":"HUB_EVENT_TYPE_MERGE_MESSAGE","text":"\\u0000"}'
    later = b'{"no":"id"}'
    blocks = blocks_of([merge(cast_add(1, "good")), nameless, later, edited_message(cast_add(1, "x"), hash="0x")])
    replica.fold_blocks(blocks)
    assert replica.live("casts", "text, fid") == [("good", 1)]
    found = replica.rows("SELECT event_id & 16383, reason, raw FROM pipeline.quarantine ORDER BY 1, 2, 3")
    assert found == [
        (1, "undecodable", later),
        (1, "undecodable", nameless),
        (4, "invalid", blocks[FIRST_HEIGHT][4]),
    ]


def test_a_nul_in_a_key_of_the_json_sets_the_event_aside(replica: FoldedDatabase) -> None:
    spoilt = edited_message(cast_add(1, "x"))
    spoilt["mergeMessageBody"]["message"]["data"]["fi\x00d"] = "no number"
    replica.fold([spoilt, merge(cast_add(1, "good"))])
    assert replica.live("casts", "text, fid") == [("good", 1)]
    assert replica.quarantined() == [(FIRST_HEIGHT << 14 | 1, "invalid")]


def test_meeting_a_record_again_keeps_one_line_with_its_first_sighting(replica: FoldedDatabase) -> None:
    blocks = blocks_of([merge(cast_add(2**63))])
    replica.fold_blocks(blocks)
    with FoldSession(replica.url, "again") as session:
        session.refold(micro_batch(blocks))
    (line,) = replica.rows("SELECT first_seen, last_seen FROM pipeline.quarantine")
    assert line.last_seen > line.first_seen


def test_a_batch_of_nothing_but_bad_events_is_covered(replica: FoldedDatabase) -> None:
    blocks = blocks_of([merge(cast_add(-1)), b"{}"])
    assert len(event_batch(blocks).undecodable) == 2
    replica.fold_blocks(blocks)
    assert len(replica.quarantined()) == 2
    assert replica.rows("SELECT from_height, to_height FROM pipeline.coverage") == [(FIRST_HEIGHT, FIRST_HEIGHT)]
