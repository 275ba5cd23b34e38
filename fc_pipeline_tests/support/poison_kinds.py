"""Kinds of poison: events that a hub should never send, each made for a place in a log."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Event,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    failure,
    hex_hash,
    link,
    merge,
    merge_chain,
    merge_proof,
    message,
    proof,
    prune,
    raw,
    reaction,
    revoke,
    user_data,
    verification,
)

__all__ = ["KINDS", "Kind", "Place"]

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Place:
    """Where a poison event stands: the id that its log gives it."""

    shard: int
    event_id: int

    @property
    def height(self) -> int:
        return self.event_id >> 14

    @property
    def seq(self) -> int:
        return self.event_id & 16383

    @property
    def fid(self) -> int:
        """A user that nobody else is, so that no good event decides a poison's row."""
        return 1_000_000_000 + self.shard * 500_000_000 + self.event_id % 400_000_000

    def raw(self, event: Event) -> bytes:
        return raw(event, self.height, self.seq, self.shard)


Make = Callable[[Place], bytes]


@dataclass(frozen=True)
class Kind:
    """How the bytes are made, and what is to become of them.

    `reason` is that of the record in quarantine, None for an event that is stored as it is; `stored` makes the event
    whose rows the tables are to have of it.
    """

    make: Make
    reason: str | None
    stored: Make | None = None


KINDS: dict[str, Kind] = {}


def _kind(name: str, reason: str | None, make: Make, stored: Make | None = None) -> None:
    assert name not in KINDS
    KINDS[name] = Kind(make, reason, stored)


def _kept(name: str, make: Make) -> None:
    """An odd event, but one that can be stored whole."""
    _kind(name, None, make, make)


def _event(name: str, reason: str, build: Callable[[Place], Event]) -> None:
    _kind(name, reason, lambda place: place.raw(build(place)))


def _cast(name: str, reason: str, **paths: Any) -> None:
    """A cast with values set at `__`-separated paths below its message; `...` deletes."""
    _event(name, reason, lambda place: edited(merge(cast_add(place.fid)), "mergeMessageBody.message", paths))


def _top(name: str, reason: str, **values: Any) -> None:
    """A cast's event with keys set beside its body, `...` deletes; `raw` writes the id before, so here it is last."""

    def make(place: Place) -> bytes:
        event = json.loads(place.raw(merge(cast_add(place.fid))))
        return _dumped(_set(event, values))

    _kind(name, reason, make)


def _text(name: str, reason: str | None, old: str, new: bytes, event: Callable[[Place], Event] | None = None) -> None:
    """A cast, or another event, with a piece of its JSON replaced by what no encoder writes."""
    build = event or (lambda place: merge(cast_add(place.fid, "MARK")))
    make: Make = lambda place: _replaced(place.raw(build(place)), old, new)  # noqa: E731
    _kind(name, reason, make, make if reason is None else None)


def _replaced(text: bytes, old: str, new: bytes) -> bytes:
    assert text.count(old.encode()) == 1, text
    return text.replace(old.encode(), new)


def edited(event: Event, root: str, paths: dict[str, Any]) -> Event:
    copy = json.loads(json.dumps(event))
    at = copy
    for key in root.split("."):
        at = at[key]
    _set(at, paths)
    return copy


def _set(value: Any, paths: dict[str, Any]) -> Any:
    for path, given in paths.items():
        *way, last = path.split("__")
        at = value
        for key in way:
            at = at[key]
        if given is ...:
            del at[last]
        else:
            at[last] = given
    return value


def _dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _embedding(place: Place) -> Event:
    return merge(cast_add(place.fid, embeds=["MARK"]))


# What is no JSON, or not the text that it says it is.
_text("raw NUL byte", "undecodable", "MARK", b"\x00")
_text("raw line feed in a text", "undecodable", "MARK", b"a\nb")
_text("lone high surrogate", "undecodable", "MARK", rb"a\ud83d b")
_text("lone low surrogate", "undecodable", "MARK", rb"\udc00")
_text("surrogates the wrong way round", "undecodable", "MARK", rb"\udc00\ud800")
_text("lone surrogate in an embed", "undecodable", "MARK", rb"\udfff", _embedding)
_text("surrogate as UTF-8", "undecodable", "MARK", b"\xed\xa0\x80")
_text("text not UTF-8", "undecodable", "MARK", b"\xff\xfe")
_text("overlong UTF-8", "undecodable", "MARK", b"\xc0\xaf")
_text("UTF-8 cut short", "undecodable", "MARK", b"\xf0\x9f\x98")
_text("embed not UTF-8", "invalid", "MARK", b"\xff", _embedding)
_text("escape that is none", "undecodable", "MARK", rb"\x41")
_text("escape cut short", "undecodable", "MARK", rb"\u00")
_text("NaN", "undecodable", '"MARK"', b"NaN", _embedding)
_text("Infinity", "undecodable", '"MARK"', b"Infinity", _embedding)
_text("minus Infinity", "undecodable", '"MARK"', b"-Infinity", _embedding)
_text("leading zeros", "undecodable", '"MARK"', b"007", _embedding)
_text("number with a plus", "undecodable", '"MARK"', b"+7", _embedding)
_text("hex number", "undecodable", '"MARK"', b"0x7f", _embedding)
_text("Python's True", "undecodable", '"MARK"', b"True", _embedding)
_text("trailing comma", "undecodable", '"MARK"', b'"MARK",', _embedding)
_text("comment", "undecodable", '"MARK"', b'"MARK"/*no*/', _embedding)
_text("single quotes", "undecodable", '"MARK"', b"'MARK'", _embedding)
_text("arrays 10,000 deep", "undecodable", '"MARK"', b"[" * 10_000 + b"]" * 10_000, _embedding)
_text("objects 10,000 deep", "undecodable", '"MARK"', b'{"a":' * 10_000 + b"1" + b"}" * 10_000, _embedding)
_text("arrays 800 deep", "invalid", '"MARK"', b"[" * 800 + b"]" * 800, _embedding)
_text("arrays 150 deep", None, '"MARK"', b"[" * 150 + b"]" * 150, _embedding)
_text("byte order mark", "undecodable", '{"type":"HUB', b'\xef\xbb\xbf{"type":"HUB')
_text("text without its end", "undecodable", 'MARK"', b"MARK")
_text("text that ends too early", "undecodable", "MARK", b'MA"RK')
_text("object without its end", "undecodable", '"signer":"0x' + "5a" * 32 + '"}', b'"signer":"0x"')
_text("object that ends twice", "undecodable", '"signer":"0x' + "5a" * 32 + '"}', b'"signer":"0x"}}}}}')
_text("array that ends twice", "undecodable", '"MARK"]', b'"MARK"]]]', _embedding)
_text("array without its end", "undecodable", '"MARK"]', b'"MARK"', _embedding)
_kind("event cut short", "undecodable", lambda place: place.raw(merge(cast_add(place.fid)))[:-40])
_kind("null", "undecodable", lambda place: b"null")
_kind("number", "undecodable", lambda place: b"%d" % place.event_id)
_kind("text instead of an event", "undecodable", lambda place: b'"%d ,]}"' % place.event_id)
_kind("array instead of an event", "undecodable", lambda place: b"[%d]" % place.event_id)
_kind("object without keys", "undecodable", lambda place: b"{" + b" " * (place.event_id % 1000) + b"}")

# The envelope.
_top("id missing", "undecodable", id=...)
_top("id null", "undecodable", id=None)
_top("id text", "undecodable", id="12")
_top("id a fraction", "undecodable", id=1.5)
_top("id negative", "undecodable", id=-1)
_top("id zero", "misplaced", id=0)
_top("id 1", "misplaced", id=1)
_top("id 2^62", "misplaced", id=2**62)
_top("id 2^63", "undecodable", id=2**63)
_top("id 2^64", "undecodable", id=2**64)
_kind(
    "id of the event before",
    "misplaced",
    lambda place: raw(merge(cast_add(place.fid)), place.height, place.seq - 1, place.shard),
)
_top("shard of another network", "misplaced", shardIndex=77)
_top("shard negative", "misplaced", shardIndex=-1)
_top("shard text", "undecodable", shardIndex="one")
_top("block number text", "undecodable", blockNumber="one")
_top("block number zero", "misplaced", blockNumber=0)
_top("type missing", "undecodable", type=...)
_top("type null", "undecodable", type=None)
_top("type a number", "undecodable", type=1)
_top("type unknown", "unknown_type", type="HUB_EVENT_TYPE_NEW")
_top("type empty", "unknown_type", type="")
_top("type with NUL", "unknown_type", type="HUB_\x00")
_top("body missing", "invalid", mergeMessageBody=...)
_top("body null", "invalid", mergeMessageBody=None)
_top("body a list", "undecodable", mergeMessageBody=[])
_top("body a text", "undecodable", mergeMessageBody="body")
_top("message missing", "undecodable", mergeMessageBody__message=...)
_top("message null", "undecodable", mergeMessageBody__message=None)
_top("displaced null", "undecodable", mergeMessageBody__deletedMessages=[None])
_top("body of another event", "invalid", type="HUB_EVENT_TYPE_PRUNE_MESSAGE")

# Messages.
_cast("data missing", "undecodable", data=...)
_cast("data null", "undecodable", data=None)
_cast("hash missing", "undecodable", hash=...)
_cast("hash null", "undecodable", hash=None)
_cast("hash empty", "invalid", hash="")
_cast("hash of odd length", "invalid", hash="0x" + "a" * 39)
_cast("hash no hex", "invalid", hash="0x" + "zz" * 20)
_cast("hash too short", "invalid", hash="0xabcd")
_cast("hash too long", "invalid", hash="0x" + "ab" * 32)
_cast("hash without 0x", "invalid", hash="ab" * 20)
_cast("hash of digits that are not ASCII", "invalid", hash="0x" + "١" * 40)
_cast("hash of 10 MB", "invalid", hash="0x" + "ab" * (5 * MEGABYTE))
_cast("signature no base64", "invalid", signature="!!!!")
_cast("signature unpadded", "invalid", signature="YWI")
_cast("signature of the URL alphabet", "invalid", signature="__-_")
_cast("signature with a line feed", "invalid", signature="YW\nI=")
_cast("signer of odd length", "invalid", signer="0xabc")
_cast("message type unknown", "unknown_type", data__type="MESSAGE_TYPE_NEW")
_cast("message type a number", "undecodable", data__type=1)
_cast("message body missing", "invalid", data__castAddBody=...)
_cast("message body null", "invalid", data__castAddBody=None)
_cast("message body a list", "undecodable", data__castAddBody=[])
_cast("message body empty", "undecodable", data__castAddBody={})
_cast("message of another type", "invalid", data__type="MESSAGE_TYPE_LINK_ADD")
_cast("FID zero", "undecodable", data__fid=0)
_cast("FID negative", "undecodable", data__fid=-5)
_cast("FID 2^63", "undecodable", data__fid=2**63)
_cast("FID 2^64", "undecodable", data__fid=2**64)
_cast("FID of 5,000 digits", "undecodable", data__fid=10**4200)
_cast("FID a fraction", "undecodable", data__fid=3.5)
_cast("FID a whole float", "undecodable", data__fid=3.0)
_cast("FID text", "undecodable", data__fid="3")
_cast("FID true", "undecodable", data__fid=True)
_cast("FID null", "undecodable", data__fid=None)
_cast("timestamp 2^32", "undecodable", data__timestamp=2**32)
_cast("timestamp negative", "undecodable", data__timestamp=-1)
_cast("timestamp a fraction", "undecodable", data__timestamp=1.5)
_cast("timestamp text", "undecodable", data__timestamp="2026-11-01")
_cast("text a number", "undecodable", data__castAddBody__text=7)
_cast("text null", "undecodable", data__castAddBody__text=None)
_cast("mentions null", "undecodable", data__castAddBody__mentions=None)
_cast("mention zero", "undecodable", data__castAddBody__mentions=[0])
_cast("mention 2^64-1", "undecodable", data__castAddBody__mentions=[2**64 - 1])
_cast("mention text", "undecodable", data__castAddBody__mentions=["3"])
_cast("mention position 2^31", "undecodable", data__castAddBody__mentionsPositions=[2**31])
_cast("parent without hash", "undecodable", data__castAddBody__parentCastId={"fid": 1})
_cast("parent hash short", "invalid", data__castAddBody__parentCastId={"fid": 1, "hash": "0xab"})
_cast("parent hash empty", "invalid", data__castAddBody__parentCastId={"fid": 1, "hash": ""})
_cast("parent FID zero", "undecodable", data__castAddBody__parentCastId={"fid": 0, "hash": hex_hash(1)})
_cast("parent URL of 10 MB", "invalid", data__castAddBody__parentUrl="u" * (10 * MEGABYTE))
_cast("cast type unknown", "unknown_type", data__castAddBody__type="GIANT_CAST")
_text("embed number beyond numeric", "invalid", '"MARK"', b"1e400000", _embedding)
_text("embed number beyond any exponent", "invalid", '"MARK"', b"1e99999999999999999999", _embedding)
_text("embed number below any exponent", "invalid", '"MARK"', b"1e-99999999999999999999", _embedding)
_text("embed integer of 200,000 digits", "invalid", '"MARK"', b"9" * 200_000, _embedding)
_event(
    "reaction without target",
    "invalid",
    lambda p: merge(_message("REACTION_ADD", p, "reactionBody", {"type": "REACTION_TYPE_LIKE"})),
)
_event("reaction unknown", "unknown_type", lambda p: merge(reaction(p.fid, "https://a.example", "HATE")))
_event("reaction to a URL of 5,000 bytes", "invalid", lambda p: merge(reaction(p.fid, "é" * 2_500)))
_event("reaction to a hash of odd length", "invalid", lambda p: merge(reaction(p.fid, (1, "0xabc"))))
_event("link to nobody", "undecodable", lambda p: merge(link(p.fid, 0)))
_event("link to 2^63", "undecodable", lambda p: merge(link(p.fid, 2**63)))
_event("link of an endless type", "invalid", lambda p: merge(link(p.fid, 2, kind="x" * 2000)))
_event("link removed without a body", "invalid", lambda p: merge(message("LINK_REMOVE", p.fid, NOW, {})))
_event("compaction with a target 2^63", "undecodable", lambda p: merge(compact_state(p.fid, [2**63])))
_event("compaction without targets that are numbers", "undecodable", lambda p: merge(compact_state(p.fid, ["all"])))  # pyright: ignore[reportArgumentType]
_event("compaction with a hash of odd length", "invalid", lambda p: merge({**compact_state(p.fid, [1]), "hash": "0xa"}))
_event("user data unknown", "unknown_type", lambda p: merge(user_data(p.fid, "AURA", "x")))
_event(
    "user data without a value",
    "undecodable",
    lambda p: merge(_message("USER_DATA_ADD", p, "userDataBody", {"type": "USER_DATA_TYPE_BIO"})),
)
_event("username of 10 MB", "invalid", lambda p: merge(user_data(p.fid, "USERNAME", "u" * (10 * MEGABYTE))))
_event("address no hex", "invalid", lambda p: merge(verification(p.fid, "0xzz")))
_event("protocol unknown", "unknown_type", lambda p: merge(verification(p.fid, "0x" + "aa" * 20, protocol="BITCOIN")))
_event("verification type 2^40", "unknown_type", lambda p: merge(verification(p.fid, "0x" + "aa" * 20, type=2**40)))
_event(
    "remove with a hash in hex",
    "invalid",
    lambda p: merge(
        edited(cast_remove(p.fid, hex_hash(p.fid)), "data.castRemoveBody", {"targetHash": hex_hash(p.fid)})
    ),
)
_event("prune of nothing", "undecodable", lambda p: {"type": "HUB_EVENT_TYPE_PRUNE_MESSAGE", "pruneMessageBody": {}})
_event("prune of an unknown type", "unknown_type", lambda p: prune(message("NEW", p.fid, NOW, {})))
_event("revoke of a bad hash", "invalid", lambda p: revoke({**cast_add(p.fid), "hash": "0xzz"}))
_event("displaced message bad", "invalid", lambda p: merge(cast_add(p.fid), {**cast_add(p.fid, "old"), "hash": "0xzz"}))
_event("failure without end of depth", "undecodable", lambda p: failure({"deep": "MARK"}) | {"id": "x"})

# Proofs and contract events.
_event("proof event without a proof", "invalid", lambda p: merge_proof())
_event("proof at 10^12", "invalid", lambda p: merge_proof(proof(f"p{p.event_id}", p.fid, 10**12)))
_event("proof at 2^63", "undecodable", lambda p: merge_proof(proof(f"p{p.event_id}", p.fid, 2**63)))
_event(
    "proof of an unknown type", "unknown_type", lambda p: merge_proof(proof(f"p{p.event_id}", p.fid, HOUR_UNIX, "DNS"))
)
_event("proof of an endless name", "invalid", lambda p: merge_proof(proof("n" * 5000, p.fid, HOUR_UNIX)))
_event(
    "proof with a bad signature",
    "invalid",
    lambda p: merge_proof({**proof(f"p{p.event_id}", p.fid, HOUR_UNIX), "signature": "?"}),
)
_event(
    "contract event of an unknown type",
    "unknown_type",
    lambda p: merge_chain({**chain_event("signer", p.fid), "type": "EVENT_TYPE_NEW"}),
)
_event(
    "contract event at 10^15",
    "invalid",
    lambda p: merge_chain({**chain_event("signer", p.fid), "blockTimestamp": 10**15}),
)
_event(
    "contract event in block 2^63",
    "undecodable",
    lambda p: merge_chain({**chain_event("signer", p.fid), "blockNumber": 2**63}),
)
_event(
    "contract event without a transaction",
    "undecodable",
    lambda p: merge_chain({k: v for k, v in chain_event("signer", p.fid).items() if k != "transactionHash"}),
)
_event(
    "transaction hash of odd length",
    "invalid",
    lambda p: merge_chain({**chain_event("signer", p.fid), "transactionHash": "0xabc"}),
)


def _message(kind: str, place: Place, key: str, body: Any) -> Any:
    return message(kind, place.fid, NOW, {key: body})


# What is odd and stored all the same: whole, or without its U+0000, which is noted.
def _nul(name: str, build: Callable[[Place, str], Event]) -> None:
    _kind(name, "nul_removed", lambda p: p.raw(build(p, "\x00")), lambda p: _like(p, build))


def _like(place: Place, build: Callable[[Place, str], Event]) -> bytes:
    """The event without NUL under the hash that it has with it."""
    with_nul, without = (build(place, nul) for nul in ("\x00", ""))
    for one, other in ((with_nul.get("mergeMessageBody"), without.get("mergeMessageBody")),):
        if one and other:
            other["message"]["hash"] = one["message"]["hash"]
    return place.raw(without)


_nul("NUL in a text", lambda p, nul: merge(cast_add(p.fid, f"a{nul}b")))
_nul("nothing but NUL", lambda p, nul: merge(cast_add(p.fid, nul * 3)))
_nul("NUL in an embed", lambda p, nul: merge(cast_add(p.fid, embeds=[{"url": f"u{nul}"}])))
_nul("NUL in a bio", lambda p, nul: merge(user_data(p.fid, "BIO", f"b{nul}io")))
_nul("NUL in a name", lambda p, nul: merge_proof(proof(f"n{nul}{p.event_id}", p.fid, HOUR_UNIX)))
_kept("text of 10 MB", lambda p: p.raw(merge(cast_add(p.fid, "é" * (5 * MEGABYTE)))))
_kept("unknown key of 10 MB", lambda p: p.raw({**merge(cast_add(p.fid)), "extra": "x" * (10 * MEGABYTE)}))
_kept("bio of 1 MB", lambda p: p.raw(merge(user_data(p.fid, "BIO", "b" * MEGABYTE))))
_kept(
    "100,000 mentions", lambda p: p.raw(merge(cast_add(p.fid, mentions=list(range(1, 100_001)), mentionsPositions=[])))
)
_kept("100,000 embeds", lambda p: p.raw(merge(cast_add(p.fid, embeds=[{"url": "u"}] * 100_000))))
_kept("100,000 targets kept", lambda p: p.raw(merge(compact_state(p.fid, range(1, 100_001)))))
_kept("timestamp at 0", lambda p: p.raw(merge(cast_add(p.fid, timestamp=0))))
_kept("timestamp in 2157", lambda p: p.raw(merge(cast_add(p.fid, timestamp=2**32 - 1))))
_kept("proof at 0", lambda p: p.raw(merge_proof(proof(f"p{p.event_id}", p.fid, 0))))
_kept("proof in 9999", lambda p: p.raw(merge_proof(proof(f"p{p.event_id}", p.fid, 253_402_300_799))))
_kept("FID 2^63-1", lambda p: p.raw(merge(cast_add(2**63 - 1, f"{p.event_id}"))))
_kept("empty text", lambda p: p.raw(merge(cast_add(p.fid, ""))))
_kept("empty URL", lambda p: p.raw(merge(reaction(p.fid, ""))))
_kept("SQL in a text", lambda p: p.raw(merge(cast_add(p.fid, "'); DROP TABLE casts; --"))))
_kept("COPY's end in a text", lambda p: p.raw(merge(cast_add(p.fid, "\\.\n\\N\t\\\\"))))
_kept(
    "noncharacters and bidi marks", lambda p: p.raw(merge(cast_add(p.fid, "\ufffe\uffff\u202e\U0010ffff\x7f\x1b[31m")))
)
_kept("half of an escaped NUL", lambda p: p.raw(merge(cast_add(p.fid, "\\u0000 \\\\u0000"))))
_text("a key twice, the last one counts", None, '"text":"MARK"', b'"text":"first","text":"last"')
_text(
    "the same id twice",
    None,
    '"type":"HUB_EVENT_TYPE_MERGE_MESSAGE","id":',
    b'"id":1,"type":"HUB_EVENT_TYPE_MERGE_MESSAGE","id":',
)
_kept(
    "failure with any body",
    lambda p: p.raw({"type": "HUB_EVENT_TYPE_MERGE_FAILURE", "mergeFailureBody": {"message": [None, -1]}}),
)
