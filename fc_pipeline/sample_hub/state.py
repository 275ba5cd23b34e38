"""The hub's message sets as of the visible log: a plain model of hub-api 7, made to be checked against, not to be fast.

It shares nothing with the pipeline's fold. Messages are kept as the bytes in which they came.
"""

from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from fc_pipeline.sample_hub.chain_state import ChainEvents
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.name_state import Names

__all__ = ["FidSets", "HubState", "Row"]

LINK_COMPACTION_BY_TYPE: Final = 175_701_600
"""Farcaster second (protocol V19) from which a compact state touches links of its own type only (hub-api 7.4)."""


class _MergeBody(msgspec.Struct):
    message: msgspec.Raw
    deletedMessages: list[msgspec.Raw] = []


class _GoneBody(msgspec.Struct):
    message: msgspec.Raw


class _ProofBody(msgspec.Struct):
    """Absent proofs are empty: msgspec takes `Raw | None` for None only."""

    usernameProof: msgspec.Raw = msgspec.Raw(b"")
    deletedUsernameProof: msgspec.Raw = msgspec.Raw(b"")
    usernameProofMessage: msgspec.Raw = msgspec.Raw(b"")


class _ChainBody(msgspec.Struct):
    onChainEvent: msgspec.Raw


class _Event(msgspec.Struct):
    type: str
    mergeMessageBody: _MergeBody | None = None
    pruneMessageBody: _GoneBody | None = None
    revokeMessageBody: _GoneBody | None = None
    mergeUsernameProofBody: _ProofBody | None = None
    mergeOnChainEventBody: _ChainBody | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)
_ANY: Final = msgspec.json.Decoder()
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError)


@dataclass(slots=True)
class Row:
    """A stored message: `is_add` is false for removes; `detail` holds what a query looks for besides the key.

    `sort_key` is timestamp, then hash: the order of every list (hub-api 6.1).
    """

    timestamp: int
    hash: str
    raw: msgspec.Raw
    fid: int
    shard: int
    is_add: bool
    detail: Any = None
    sort_key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.sort_key = self.timestamp.to_bytes(4, "big") + bytes.fromhex(self.hash.removeprefix("0x"))


@dataclass(slots=True)
class FidSets:
    """All message sets of one FID, by the key on which messages conflict (hub-api 7.1).

    `casts` by cast hash (a remove by its target's), `reactions` by (type, target), `links` by (type, target FID),
    `compact_states` by link type, `user_data` by type, `verifications` by address, `lends` by receiving FID.
    """

    casts: dict[str, Row] = field(default_factory=dict[str, Row])
    reactions: dict[tuple[Any, ...], Row] = field(default_factory=dict[tuple[Any, ...], Row])
    links: dict[tuple[str, int], Row] = field(default_factory=dict[tuple[str, int], Row])
    compact_states: dict[str, Row] = field(default_factory=dict[str, Row])
    user_data: dict[str, Row] = field(default_factory=dict[str, Row])
    verifications: dict[str, Row] = field(default_factory=dict[str, Row])
    lends: dict[int, Row] = field(default_factory=dict[int, Row])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a message belongs: the set's name, its key in it, whether it is an add, and what queries look for."""

    set_name: str
    key: Any
    is_add: bool = True
    detail: Any = None


class HubState:
    """Follows a log. `unreadable` lists (shard, event index) of events whose body is not what the hub's API says."""

    def __init__(self) -> None:
        self.fids: defaultdict[int, FidSets] = defaultdict(FidSets)
        self.names = Names()
        self.chain = ChainEvents()
        self.unreadable: list[tuple[int, int]] = []
        self._applied: dict[int, int] = {}

    def follow(self, log: EventLog) -> None:
        """Take in what became visible since the last call."""
        for number, shard in sorted(log.shards.items()):
            start = max(0, self._applied.get(number, 0) - shard.dropped_events)
            for index in range(start, shard.visible_end):
                try:
                    self._apply(number, shard.raws[index])
                except _UNREADABLE:
                    self.unreadable.append((number, index + shard.dropped_events))
            self._applied[number] = shard.dropped_events + shard.visible_end

    def _apply(self, shard: int, raw: bytes) -> None:
        event = _EVENT.decode(raw)
        if event.type == "HUB_EVENT_TYPE_MERGE_FAILURE":
            return
        if event.mergeMessageBody is not None:
            for deleted in event.mergeMessageBody.deletedMessages:
                self._delete(deleted)
            self._merge(shard, event.mergeMessageBody.message)
        gone = event.pruneMessageBody or event.revokeMessageBody
        if gone is not None:
            self._delete(gone.message)
        if event.mergeUsernameProofBody is not None:
            body = event.mergeUsernameProofBody
            self.names.apply(shard, body.usernameProof, body.deletedUsernameProof, body.usernameProofMessage)
        if event.mergeOnChainEventBody is not None:
            self.chain.add(shard, event.mergeOnChainEventBody.onChainEvent)

    def _merge(self, shard: int, raw: msgspec.Raw) -> None:
        message = _ANY.decode(raw)
        data = message["data"]
        place = _place_of(message)
        row = Row(data["timestamp"], message["hash"], raw, data["fid"], shard, place.is_add, place.detail)
        sets = self.fids[data["fid"]]
        getattr(sets, place.set_name)[place.key] = row
        if place.set_name == "compact_states":
            _compact(sets, data["timestamp"], place.key, set(data["linkCompactStateBody"]["targetFids"]))

    def _delete(self, raw: msgspec.Raw) -> None:
        """Take the row away if it is still this very message."""
        message = _ANY.decode(raw)
        place = _place_of(message)
        rows = getattr(self.fids[message["data"]["fid"]], place.set_name)
        row = rows.get(place.key)
        if row is not None and row.hash == message["hash"]:
            del rows[place.key]


def _compact(sets: FidSets, timestamp: int, link_type: str, targets: set[int]) -> None:
    """Steps 2 to 4 of hub-api 7.4: links up to the compact state's time live only if they are in it."""
    all_types = timestamp < LINK_COMPACTION_BY_TYPE
    for key, row in list(sets.links.items()):
        in_scope = row.timestamp <= timestamp and (all_types or key[0] == link_type)
        if in_scope and (not row.is_add or key[1] not in targets):
            del sets.links[key]


def _cast_add(message: Any, body: Any) -> _Place:
    parent = body.get("parentCastId")
    detail = ((parent["fid"], parent["hash"]) if parent else None, body.get("parentUrl"), body.get("mentions", []))
    return _Place("casts", message["hash"], detail=detail)


def _cast_remove(message: Any, body: Any) -> _Place:
    return _Place("casts", "0x" + b64decode(body["targetHash"]).hex(), is_add=False)


def _reaction(message: Any, body: Any) -> _Place:
    cast = body.get("targetCastId")
    target = (cast["fid"], cast["hash"]) if cast else body["targetUrl"]
    detail = (None, None if cast else target)
    return _Place("reactions", (body["type"], target), message["data"]["type"].endswith("_ADD"), detail)


def _link(message: Any, body: Any) -> _Place:
    return _Place("links", (body["type"], body["targetFid"]), message["data"]["type"].endswith("_ADD"))


def _compact_state(message: Any, body: Any) -> _Place:
    return _Place("compact_states", body["type"])


def _user_data(message: Any, body: Any) -> _Place:
    return _Place("user_data", body["type"])


def _verification(message: Any, body: Any) -> _Place:
    return _Place("verifications", body["address"], message["data"]["type"] != "MESSAGE_TYPE_VERIFICATION_REMOVE")


def _lend(message: Any, body: Any) -> _Place:
    return _Place("lends", body["toFid"], detail=(body["numUnits"], body["unitType"]))


_PLACES: Final[dict[str, tuple[str, Callable[[Any, Any], _Place]]]] = {
    "MESSAGE_TYPE_CAST_ADD": ("castAddBody", _cast_add),
    "MESSAGE_TYPE_CAST_REMOVE": ("castRemoveBody", _cast_remove),
    "MESSAGE_TYPE_REACTION_ADD": ("reactionBody", _reaction),
    "MESSAGE_TYPE_REACTION_REMOVE": ("reactionBody", _reaction),
    "MESSAGE_TYPE_LINK_ADD": ("linkBody", _link),
    "MESSAGE_TYPE_LINK_REMOVE": ("linkBody", _link),
    "MESSAGE_TYPE_LINK_COMPACT_STATE": ("linkCompactStateBody", _compact_state),
    "MESSAGE_TYPE_USER_DATA_ADD": ("userDataBody", _user_data),
    "MESSAGE_TYPE_VERIFICATION_ADD_ETH_ADDRESS": ("verificationAddAddressBody", _verification),
    "MESSAGE_TYPE_VERIFICATION_REMOVE": ("verificationRemoveBody", _verification),
    "MESSAGE_TYPE_LEND_STORAGE": ("lendStorageBody", _lend),
}


def _place_of(message: Any) -> _Place:
    """Raises KeyError for a message of a type that this hub has no set for."""
    body_name, place = _PLACES[message["data"]["type"]]
    return place(message, message["data"][body_name])
