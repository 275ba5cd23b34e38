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
from fc_pipeline.sample_hub.channel_state import Channels, Verified
from fc_pipeline.sample_hub.gasless_keys import GaslessKeys
from fc_pipeline.sample_hub.homes import shard_of
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
    """Follows a log. `unreadable` lists (shard, event index) of events whose body is not what the hub's API says.

    `copies` are the verifications of a shard and FID that is not at home there, by address: no read shows them.
    `lenders` has per FID those who ever lent to it. `home_of` gives the home shard of an FID where it is not the
    network's own rule that says so.
    """

    def __init__(self, home_of: Callable[[int], int] | None = None) -> None:
        self.fids: defaultdict[int, FidSets] = defaultdict(FidSets)
        self.names = Names()
        self.chain = ChainEvents()
        self.keys = GaslessKeys()
        self.channels = Channels()
        self.copies: defaultdict[tuple[int, int], dict[str, Row]] = defaultdict(dict)
        self.lenders: defaultdict[int, set[int]] = defaultdict(set)
        self.unreadable: list[tuple[int, int]] = []
        self._applied: dict[int, int] = {}
        self._home_of = home_of or self._shard_of
        self._shards = 1
        self._block_shard_copy = 1

    def follow(self, log: EventLog) -> None:
        """Take in what became visible since the last call."""
        self._shards = max(log.shards, default=1)
        self._block_shard_copy = min(log.shards, default=1)
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
                self._delete(shard, deleted)
            self._merge(shard, event.mergeMessageBody.message)
        gone = event.pruneMessageBody or event.revokeMessageBody
        if gone is not None:
            self._delete(shard, gone.message)
        if event.mergeUsernameProofBody is not None:
            body = event.mergeUsernameProofBody
            self.names.apply(shard, body.usernameProof, body.deletedUsernameProof, body.usernameProofMessage)
        if event.mergeOnChainEventBody is not None:
            self._add_contract_event(shard, event.mergeOnChainEventBody.onChainEvent)

    def _add_contract_event(self, shard: int, raw: msgspec.Raw) -> None:
        added = self.chain.add(shard, raw)
        if added is not None and added["type"] == "EVENT_TYPE_CHANNEL_REGISTER":
            self.channels.apply_contract(added)

    def _shard_of(self, fid: int) -> int:
        return shard_of(fid, self._shards)

    def _counts(self, shard: int, data: Any) -> bool:
        """Whether the shard's event about such a message changes what by-FID reads say (hub-api 7.7 and 12).

        Every shard replays what the block shard merged: of verifications the FID's home shard counts, as others prune
        them at once; of lends and channel messages one shard's copies do, since late copies would bring back old ones.
        """
        kind = data["type"]
        if kind.startswith("MESSAGE_TYPE_VERIFICATION_"):
            return shard == self._home_of(data["fid"])
        if kind == "MESSAGE_TYPE_LEND_STORAGE" or kind.startswith("MESSAGE_TYPE_CHANNEL_"):
            return shard == self._block_shard_copy
        return True

    def _note_verification(self, message: Any) -> None:
        data = message["data"]
        place = _place_of(message)
        verified = Verified(data["timestamp"], not place.is_add, message["hash"])
        self.channels.note_verification(data["fid"], place.key, verified)

    def _merge(self, shard: int, raw: msgspec.Raw) -> None:
        message = _ANY.decode(raw)
        data = message["data"]
        if data["type"].startswith("MESSAGE_TYPE_VERIFICATION_"):
            self._note_verification(message)
        if data["type"].startswith("MESSAGE_TYPE_CHANNEL_"):
            if self._counts(shard, data):
                self.channels.apply_message(data, bytes(raw))
            return
        place = _place_of(message)
        row = Row(data["timestamp"], message["hash"], raw, data["fid"], shard, place.is_add, place.detail)
        rows = self._rows(shard, data, place)
        if rows is None:
            return
        if self._counts(shard, data):
            self.keys.note_use(message)
        rows[place.key] = row
        if place.set_name == "lends":
            self.lenders[place.key].add(data["fid"])
        if place.set_name == "compact_states":
            targets = set(data["linkCompactStateBody"]["targetFids"])
            _compact(self.fids[data["fid"]], data["timestamp"], place.key, targets)

    def _delete(self, shard: int, raw: msgspec.Raw) -> None:
        """Take the row away if it is still this very message. What a channel's message replaced has lost its slot."""
        message = _ANY.decode(raw)
        data = message["data"]
        if data["type"].startswith("MESSAGE_TYPE_CHANNEL_"):
            return
        place = _place_of(message)
        rows = self._rows(shard, data, place)
        row = rows.get(place.key) if rows is not None else None
        if rows is not None and row is not None and row.hash == message["hash"]:
            del rows[place.key]

    def _rows(self, shard: int, data: Any, place: _Place) -> dict[Any, Row] | None:
        """The set in which the shard has such a message; None where the shard's copy counts for nothing."""
        if self._counts(shard, data):
            return getattr(self.fids[data["fid"]], place.set_name)
        return self.copies[shard, data["fid"]] if place.set_name == "verifications" else None


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
