"""Events → rows: which table each event changes, and how. An event that cannot be understood is quarantined whole."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from fc_pipeline.hub.decode import EventBatch, Undecodable, decode_events
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS, HubEvent, MergeMessageBody, Message
from fc_pipeline.tables import (
    casts,
    link_compactions,
    links,
    on_chain_events,
    reactions,
    user_data,
    username_proofs,
    verifications,
)
from fc_pipeline.tables.columns import Row
from fc_pipeline.tables.encoding import UnknownValue
from fc_pipeline.tables.message import Deletion

__all__ = ["Changes", "Quarantined", "changes_of"]

_MICROS = 1_000_000
_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record set aside: `event_id` is its own or, where that cannot be read, its predecessor's."""

    event_id: int
    reason: str
    detail: str
    raw: bytes


@dataclass(slots=True)
class Changes:
    """Rows per table, in the order of their events, and what could not become a row.

    `messages` counts the rows that one write per message would have written.
    """

    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    compactions: list[Row] = field(default_factory=list[Row])
    quarantined: list[Quarantined] = field(default_factory=list[Quarantined])
    messages: int = 0


_Added = Callable[[Message, int], Row]
_Gone = Callable[[Message, int, Deletion], Row]

_ADDS: dict[str, tuple[str, _Added]] = {
    "MESSAGE_TYPE_CAST_ADD": ("casts", casts.added),
    "MESSAGE_TYPE_REACTION_ADD": ("reactions", reactions.added),
    "MESSAGE_TYPE_LINK_ADD": ("links", links.added),
    "MESSAGE_TYPE_VERIFICATION_ADD_ETH_ADDRESS": ("verifications", verifications.added),
    "MESSAGE_TYPE_USER_DATA_ADD": ("user_data", user_data.added),
}
_REMOVES: dict[str, tuple[str, _Gone]] = {
    "MESSAGE_TYPE_CAST_REMOVE": ("casts", casts.removed),
    "MESSAGE_TYPE_REACTION_REMOVE": ("reactions", reactions.gone),
    "MESSAGE_TYPE_LINK_REMOVE": ("links", links.gone),
    "MESSAGE_TYPE_VERIFICATION_REMOVE": ("verifications", verifications.gone),
}
# What a pruned, revoked or displaced add takes away. A remove has no row, so its going changes nothing (hub-api 7.3).
_GONE: dict[str, tuple[str, _Gone]] = {
    "MESSAGE_TYPE_CAST_ADD": ("casts", casts.gone),
    "MESSAGE_TYPE_REACTION_ADD": ("reactions", reactions.gone),
    "MESSAGE_TYPE_LINK_ADD": ("links", links.gone),
    "MESSAGE_TYPE_VERIFICATION_ADD_ETH_ADDRESS": ("verifications", verifications.gone),
    "MESSAGE_TYPE_USER_DATA_ADD": ("user_data", user_data.gone),
}
_COMPACT_STATE = "MESSAGE_TYPE_LINK_COMPACT_STATE"
_KNOWN_MESSAGES = frozenset(
    {
        *_ADDS,
        *_REMOVES,
        _COMPACT_STATE,
        "MESSAGE_TYPE_USERNAME_PROOF",
        "MESSAGE_TYPE_FRAME_ACTION",
        "MESSAGE_TYPE_LEND_STORAGE",
        "MESSAGE_TYPE_KEY_ADD",
        "MESSAGE_TYPE_KEY_REMOVE",
        "MESSAGE_TYPE_CHANNEL_UPDATE",
        "MESSAGE_TYPE_CHANNEL_MEMBER",
        "MESSAGE_TYPE_CHANNEL_PIN",
        "MESSAGE_TYPE_CHANNEL_MODERATE",
    }
)
# Events that no table is made of; the raw log has them. A failed merge is no merge (hub-api T8).
_NO_ROWS = frozenset(
    {
        "HUB_EVENT_TYPE_BLOCK_CONFIRMED",
        "HUB_EVENT_TYPE_MERGE_FAILURE",
        "HUB_EVENT_TYPE_CHANNEL_OWNER_CHANGE_HINT",
    }
)


def changes_of(batch: EventBatch) -> Changes:
    """What the events of complete blocks change, in their order, within an event the displaced before the new."""
    changes = Changes()
    changes.quarantined += [_set_aside(bad) for bad in batch.undecodable]
    with_nul = _events_with_nul(batch)
    times = batch.block_times
    for event in batch.events:
        if event.type in _NO_ROWS:
            continue
        try:
            stored = _without_nul(with_nul[event.id]) if event.id in with_nul else event
            _apply(stored, times[event.id >> BLOCK_SEQUENCE_BITS] * _MICROS, changes)
        except ValueError as error:
            reason = "unknown_type" if isinstance(error, UnknownValue) else "invalid"
            changes.quarantined.append(Quarantined(event.id, reason, str(error), _raw(batch, event.id)))
        else:
            if stored is not event and _stored(stored) != _stored(event):
                changes.quarantined.append(Quarantined(event.id, "nul_removed", _NUL_REMOVED, with_nul[event.id]))
    return changes


def _apply(event: HubEvent, block_micros: int, changes: Changes) -> None:
    """Add one event's rows to `changes`, all or none. Raises ValueError for what no table can hold."""
    match event.type:
        case "HUB_EVENT_TYPE_MERGE_MESSAGE":
            _merge(_body(event.mergeMessageBody, event), event.id, block_micros, changes)
        case "HUB_EVENT_TYPE_MERGE_ON_CHAIN_EVENT":
            chain = _body(event.mergeOnChainEventBody, event)
            changes.rows["on_chain_events"].append(on_chain_events.merged(chain.onChainEvent, event.id))
            changes.messages += 1
        case "HUB_EVENT_TYPE_MERGE_USERNAME_PROOF":
            proof = _body(event.mergeUsernameProofBody, event)
            changes.rows["username_proofs"].append(username_proofs.proved(proof, event.id, block_micros))
            changes.messages += 1
        case "HUB_EVENT_TYPE_PRUNE_MESSAGE":
            pruned = _body(event.pruneMessageBody, event)
            _take_away(pruned.message, event.id, Deletion(block_micros, "pruned"), changes)
        case "HUB_EVENT_TYPE_REVOKE_MESSAGE":
            revoked = _body(event.revokeMessageBody, event)
            _take_away(revoked.message, event.id, Deletion(block_micros, "revoked"), changes)
        case _:
            raise UnknownValue(f"unknown event type {event.type[:80]!r}")


def _body(body: _Body | None, event: HubEvent) -> _Body:
    if body is None:
        raise ValueError(f"{event.type} without its body")
    return body


def _merge(merge: MergeMessageBody, version: int, block_micros: int, changes: Changes) -> None:
    """A merged message's row, behind the tombstones of what it displaced; it overwrites them where keys agree."""
    message = merge.message
    displaced = [
        gone
        for gone_message in merge.deletedMessages
        if (gone := _tombstone(gone_message, version, Deletion(block_micros, "replaced")))
    ]
    kind = message.data.type
    if kind in _ADDS:
        table, added = _ADDS[kind]
        own = added(message, version)
    elif kind in _REMOVES:
        table, removed = _REMOVES[kind]
        own = removed(message, version, Deletion(block_micros, "removed"))
    elif kind in _KNOWN_MESSAGES:
        table, own = None, None
        if kind == _COMPACT_STATE:
            changes.compactions.append(link_compactions.merged(message, version, block_micros))
    else:
        raise UnknownValue(f"unknown message type {kind[:80]!r}")
    for gone_table, row in displaced:
        changes.rows[gone_table].append(row)
    if table is not None and own is not None:
        changes.rows[table].append(own)
        changes.messages += 1 + len(displaced)


def _take_away(message: Message, version: int, deletion: Deletion, changes: Changes) -> None:
    gone = _tombstone(message, version, deletion)
    if gone is not None:
        changes.rows[gone[0]].append(gone[1])
        changes.messages += 1


def _tombstone(message: Message, version: int, deletion: Deletion) -> tuple[str, Row] | None:
    """The table and tombstone of a message that went away; None for one that has no row."""
    kind = message.data.type
    if kind in _GONE:
        table, gone = _GONE[kind]
        return table, gone(message, version, deletion)
    if kind not in _KNOWN_MESSAGES:
        raise UnknownValue(f"unknown message type {kind[:80]!r}")
    return None


def _raw(batch: EventBatch, event_id: int) -> bytes:
    """The event's raw bytes. A record without an id of its own stands behind its predecessor under the same one."""
    return batch.raws[batch.event_ids.index(event_id)]


def _events_with_nul(batch: EventBatch) -> dict[int, bytes]:
    """The raw bytes, by id, of the few events that hold an escaped U+0000."""
    if _NUL_ESCAPE not in b"".join(batch.raws):
        return {}
    ids = batch.event_ids
    own = (place == 0 or ids[place] != ids[place - 1] for place in range(len(ids)))
    return {i: raw for i, raw, is_own in zip(ids, batch.raws, own, strict=True) if is_own and _NUL_ESCAPE in raw}


def _set_aside(bad: Undecodable) -> Quarantined:
    """An event without raw bytes is one that the hub could not send (hub-api T3)."""
    return Quarantined(bad.near_id, "undecodable" if bad.raw else "poison_page", bad.detail, bad.raw)


_NUL_ESCAPE = b"\\u0000"
_NUL = re.compile(rb"((?<!\\)(?:\\\\)*)\\u0000")


_NUL_REMOVED = "U+0000 was taken out of a text; the row is stored without it"


def _without_nul(raw: bytes) -> HubEvent:
    """The event with U+0000 taken out of its texts, which Postgres cannot hold (hub-api T13).

    Raises ValueError if what is left is no event any more.
    """
    _, events, undecodable = decode_events([_NUL.sub(rb"\1", raw)])
    if undecodable:
        raise ValueError(f"without its U+0000: {undecodable[0].detail}")
    return events[0]


def _stored(event: HubEvent) -> bytes:
    """What of an event ends up in a row, in comparable form; a displaced message is stored nowhere."""
    merge = event.mergeMessageBody
    proof = event.mergeUsernameProofBody
    chain = event.mergeOnChainEventBody
    return msgspec.json.encode([merge.message if merge else None, proof.usernameProof if proof else None, chain])
