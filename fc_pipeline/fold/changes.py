"""Events → rows: which table each event changes, and how. An event that cannot be understood is quarantined whole.

Messages that add rows, which are most, are only sorted by table here and become Arrow columns all at once; the rest,
tombstones and contract events, become rows one by one.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, TypeVar, cast

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.fold.quarantine import Quarantined, has_nul, nul_note, reason_of, strip_nul
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.event_batch import EventBatch, Undecodable
from fc_pipeline.hub.snapshot import shard_of
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS, FIRST_SHARD, HubEvent, MergeMessageBody, Message
from fc_pipeline.tables import casts, link_compactions, on_chain_events, other_leaves, username_proofs
from fc_pipeline.tables.columns import ArrowArray, Row
from fc_pipeline.tables.encoding import UnknownValue
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.message import BLOCK_TIME, Adds, Deletion
from fc_pipeline.tables.other_leaves import OTHER_LEAVES, ROWS_OF_TABLES, leaf_rows
from fc_pipeline.tables.registry import MESSAGE_SETS, MESSAGE_TABLES

__all__ = ["GONE_CASTS_SCHEMA", "OTHER_MESSAGES", "WITHOUT_ROWS", "Changes", "changes_of"]

_MICROS = 1_000_000

GONE_CASTS_SCHEMA = pa.schema([("version", pa.int64()), ("parent_fid", pa.int64()), ("mentions", pa.list_(pa.int64()))])
"""The event that removed a cast, and the FIDs it had replied to (0: none) and mentioned."""
_Body = TypeVar("_Body")


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows per message table, and what could not become a row.

    A table's rows are those of all its events: of one event, what it displaced stands before what it added, and within
    equal versions later rows win. `without_rows` counts the events that change no table. `gone_casts` holds the FIDs
    named by casts that were pruned, revoked or displaced (GONE_CASTS_SCHEMA), `leaves` what `other_leaves` gets.
    """

    rows: dict[str, pa.Table]
    compactions: pa.Table
    leaves: pa.Table
    quarantined: list[Quarantined]
    gone_casts: pa.Table
    without_rows: int = 0

    @property
    def messages(self) -> int:
        """How many rows one write per message would have written."""
        return sum(map(len, self.rows.values())) + len(self.compactions)


@dataclass(slots=True)
class _Sorted:
    """Events of a shard on their way to becoming rows: adds per message type, and rows that are made already."""

    shard: int
    adds: dict[str, Adds] = field(default_factory=lambda: defaultdict(Adds))
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    compactions: list[Row] = field(default_factory=list[Row])
    leaves: list[Row] = field(default_factory=list[Row])
    gone_casts: list[tuple[int, int, list[int]]] = field(default_factory=list[tuple[int, int, list[int]]])
    quarantined: list[Quarantined] = field(default_factory=list[Quarantined])
    without_rows: int = 0


_ADDS: Final = {one.add_type: one for one in MESSAGE_SETS}
_REMOVES: Final = {one.remove_type: (one.name, one.removed) for one in MESSAGE_SETS if one.remove_type and one.removed}
_ONLY_OF_HOME_SHARD: Final = tuple(one.name for one in MESSAGE_SETS if one.only_of_home_shard)
_OF_ONE_SHARD: Final = tuple(name for name, table in MESSAGE_TABLES.items() if table.is_of_one_shard)
_COMPACT_STATE: Final = "MESSAGE_TYPE_LINK_COMPACT_STATE"
# Further message types that are known. One that a set in the registry claims changes the table of that set.
OTHER_MESSAGES: Final = frozenset(
    {
        _COMPACT_STATE,
        "MESSAGE_TYPE_USERNAME_PROOF",
        "MESSAGE_TYPE_FRAME_ACTION",
        "MESSAGE_TYPE_KEY_ADD",
        "MESSAGE_TYPE_KEY_REMOVE",
    }
)
# Events that no table is made of; the raw log has them. A failed merge is no merge (hub-api T8).
WITHOUT_ROWS = frozenset(
    {
        "HUB_EVENT_TYPE_BLOCK_CONFIRMED",
        "HUB_EVENT_TYPE_MERGE_FAILURE",
        "HUB_EVENT_TYPE_CHANNEL_OWNER_CHANGE_HINT",
    }
)


def changes_of(batch: EventBatch, *, shard_count: int | None) -> Changes:
    """What the events of complete blocks change.

    `shard_count` is the network's, by which an FID's home shard is found; where it is not known, every shard counts.
    """
    found = _Sorted(batch.shard)
    found.quarantined += [_quarantined(bad) for bad in batch.undecodable]
    with_nul = _events_with_nul(batch)
    times = batch.block_times
    for event in batch.events:
        if event.type in WITHOUT_ROWS:
            found.without_rows += 1
            continue
        try:
            stored = _without_nul(with_nul[event.id]) if event.id in with_nul else event
            _sort(stored, times[event.id >> BLOCK_SEQUENCE_BITS] * _MICROS, found)
        except ValueError as error:
            found.quarantined.append(_refused(batch, event.id, error))
        else:
            if stored is not event and _stored(stored) != _stored(event):
                found.quarantined.append(nul_note(event.id, with_nul[event.id]))
    return _in_columns(batch, found, shard_count)


def _in_columns(batch: EventBatch, found: _Sorted, shard_count: int | None) -> Changes:
    """The rows of all events as Arrow tables, without the events of which one row cannot be written."""
    parts: dict[str, list[pa.Table]] = defaultdict(list)
    for name, rows in found.rows.items():
        parts[name].append(MESSAGE_TABLES[name].arrow(rows))
    refused: dict[int, ValueError] = {}
    for kind, adds in found.adds.items():
        rows, reasons = _ADDS[kind].rows_of(adds)
        parts[_ADDS[kind].name].append(rows)
        refused.update({adds.versions[place]: reason for place, reason in reasons.items()})
    tables = {name: pa.concat_tables(several) for name, several in parts.items()}
    tables = {n: _with_block_times(t, batch) if MESSAGE_TABLES[n].has_block_time else t for n, t in tables.items()}
    compactions = LINK_COMPACTIONS.arrow(found.compactions)
    leaves = OTHER_LEAVES.arrow(_without_rows_of_tables(found.leaves, shard_count))
    quarantined = found.quarantined
    if refused:
        gone = pa.array(list(refused), type=pa.int64())
        tables = {name: _without(rows, gone) for name, rows in tables.items()}
        leaves = _without(leaves, gone)
        # Only the event itself: a record without an id of its own carries its predecessor's.
        quarantined = [q for q in quarantined if q.event_id not in refused or not q.is_note]
        quarantined += [_refused(batch, event_id, reason) for event_id, reason in refused.items()]
        quarantined.sort(key=attrgetter("event_id"))
    named = list(zip(*found.gone_casts, strict=True)) or [(), (), ()]
    columns = [pa.array(values, type=field.type) for values, field in zip(named, GONE_CASTS_SCHEMA, strict=True)]
    gone_casts = pa.Table.from_arrays(columns, schema=GONE_CASTS_SCHEMA)
    copies = 0
    for name in tables.keys() & set(_OF_ONE_SHARD):
        if batch.shard != FIRST_SHARD:
            copies += len(tables.pop(name)["version"].unique())
    if shard_count is not None:
        for name in tables.keys() & set(_ONLY_OF_HOME_SHARD):
            tables[name], events = _of_home_shard(tables[name], batch.shard, shard_count)
            copies += events
    written = {name: rows for name, rows in tables.items() if len(rows)}
    return Changes(written, compactions, leaves, quarantined, gone_casts, found.without_rows + copies)


def _with_block_times(rows: pa.Table, batch: EventBatch) -> pa.Table:
    """The rows with the times of the blocks whose events decide them."""
    heights = rows["version"].to_numpy() >> BLOCK_SEQUENCE_BITS
    known, places = np.unique(heights, return_inverse=True)
    unix = np.array([batch.block_times[height] for height in known.tolist()], np.int64)
    place = rows.schema.get_field_index(BLOCK_TIME.name)
    times = pa.array(unix[places] * _MICROS, type=pa.int64()).cast(BLOCK_TIME.type.arrow)
    return rows.set_column(place, rows.schema.field(place), times)


def _of_home_shard(rows: pa.Table, shard: int, shard_count: int) -> tuple[pa.Table, int]:
    """The rows of FIDs whose home this shard is, and the number of events of the others: copies that decide nothing."""
    fids = cast("list[int]", rows["fid"].to_pylist())
    is_home = pa.array([shard_of(fid, shard_count) == shard for fid in fids], type=pa.bool_())
    copies = rows.filter(pc.invert(is_home))
    return (rows.filter(is_home), len(copies["version"].unique())) if len(copies) else (rows, 0)


def _without_rows_of_tables(leaves: list[Row], shard_count: int | None) -> list[Row]:
    """The leaves without verifications of FIDs at home, which are rows; where homes are not known, all of them are."""
    return [
        row
        for row in leaves
        if row[2][0] != other_leaves.VERIFICATION_ADD_BYTE
        or (shard_count is not None and shard_of(row[1], shard_count) != row[0])
    ]


def _without(rows: pa.Table, versions: ArrowArray) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows["version"], value_set=versions)))


def _refused(batch: EventBatch, event_id: int, error: ValueError) -> Quarantined:
    return Quarantined(event_id, reason_of(error), str(error), _raw(batch, event_id))


def _sort(event: HubEvent, block_micros: int, found: _Sorted) -> None:
    """Add one event's rows and messages, all or none. Raises ValueError for values that no table can hold."""
    match event.type:
        case "HUB_EVENT_TYPE_MERGE_MESSAGE":
            _merge(_body(event.mergeMessageBody, event), event.id, block_micros, found)
        case "HUB_EVENT_TYPE_MERGE_ON_CHAIN_EVENT":
            chain = _body(event.mergeOnChainEventBody, event)
            found.rows["on_chain_events"].append(on_chain_events.merged(chain.onChainEvent, event.id))
        case "HUB_EVENT_TYPE_MERGE_USERNAME_PROOF":
            proof = _body(event.mergeUsernameProofBody, event)
            leaves = other_leaves.of_proof(found.shard, proof, event.id, block_micros)
            found.rows["username_proofs"].append(username_proofs.proved(proof, event.id, block_micros))
            found.leaves += leaves
        case "HUB_EVENT_TYPE_PRUNE_MESSAGE":
            pruned = _body(event.pruneMessageBody, event)
            _take_away(pruned.message, event.id, Deletion(block_micros, "pruned"), found)
        case "HUB_EVENT_TYPE_REVOKE_MESSAGE":
            revoked = _body(event.revokeMessageBody, event)
            _take_away(revoked.message, event.id, Deletion(block_micros, "revoked"), found)
        case _:
            raise UnknownValue(f"unknown event type {event.type[:80]!r}")


def _body(body: _Body | None, event: HubEvent) -> _Body:
    if body is None:
        raise ValueError(f"{event.type} without its body")
    return body


def _merge(merge: MergeMessageBody, version: int, block_micros: int, found: _Sorted) -> None:
    """A merged message, after the tombstones of what it displaced; it overwrites them where keys are equal."""
    message = merge.message
    kind = message.data.type
    leaves = _leaves_of(merge, version, block_micros, found.shard)
    displaced = [
        gone
        for gone_message in merge.deletedMessages
        if (gone := _tombstone(gone_message, version, Deletion(block_micros, "replaced")))
    ]
    if kind in _ADDS:
        _ADDS[kind].add(found.adds[kind], message, version)
    elif kind in _REMOVES:
        table, removed = _REMOVES[kind]
        displaced.append((table, removed(message, version, Deletion(block_micros, "removed"))))
    elif kind == _COMPACT_STATE:
        found.compactions.append(link_compactions.merged(message, version, block_micros))
    elif kind not in OTHER_MESSAGES:
        raise UnknownValue(f"unknown message type {kind[:80]!r}")
    elif not displaced:
        found.without_rows += 1
    for gone_table, row in displaced:
        found.rows[gone_table].append(row)
    found.leaves += leaves
    found.gone_casts += [named for gone_message in merge.deletedMessages if (named := _named(gone_message, version))]


def _leaves_of(merge: MergeMessageBody, version: int, block_micros: int, shard: int) -> Sequence[Row]:
    """Leaves beside the rows: of what is gone, then of what came; most messages have none."""
    is_row = merge.message.data.type in ROWS_OF_TABLES
    if is_row and not merge.deletedMessages:
        return ()
    gone = [row for message in merge.deletedMessages for row in leaf_rows(shard, message, version, block_micros)]
    return gone if is_row else [*gone, *leaf_rows(shard, merge.message, version)]


def _take_away(message: Message, version: int, deletion: Deletion, found: _Sorted) -> None:
    gone = _tombstone(message, version, deletion)
    found.leaves += leaf_rows(found.shard, message, version, deletion.deleted_at)
    if gone is None:
        found.without_rows += 1
    else:
        found.rows[gone[0]].append(gone[1])
    if (named := _named(message, version)) is not None:
        found.gone_casts.append(named)


def _named(message: Message, version: int) -> tuple[int, int, list[int]] | None:
    """The FIDs that a removed cast named, if it named any (GONE_CASTS_SCHEMA)."""
    if message.data.type != casts.CAST_SET.add_type:
        return None
    parent_fid, mentions = casts.named(message)
    return (version, parent_fid, mentions) if parent_fid or mentions else None


def _tombstone(message: Message, version: int, deletion: Deletion) -> tuple[str, Row] | None:
    """The table and tombstone of a deleted message; None if it has no row."""
    kind = message.data.type
    # A remove has no row, so deleting it changes nothing (hub-api 7.3).
    if kind in _ADDS:
        return _ADDS[kind].name, _ADDS[kind].tombstone(message, version, deletion)
    if kind not in _REMOVES and kind not in OTHER_MESSAGES:
        raise UnknownValue(f"unknown message type {kind[:80]!r}")
    return None


def _raw(batch: EventBatch, event_id: int) -> bytes:
    """The event's raw bytes. A record without an id of its own stands behind its predecessor under the same one."""
    return batch.raws[bisect_left(batch.event_ids, event_id)]


def _events_with_nul(batch: EventBatch) -> dict[int, bytes]:
    """The raw bytes, by id, of the few events that hold an escaped U+0000."""
    found = [place for place, raw in enumerate(batch.raws) if has_nul(raw)]
    ids = batch.event_ids
    # A record without an id of its own stands behind its predecessor under the same one.
    return {ids[place]: batch.raws[place] for place in found if place == 0 or ids[place] != ids[place - 1]}


def _quarantined(bad: Undecodable) -> Quarantined:
    """An event without raw bytes is one that the hub could not send (hub-api T3)."""
    return Quarantined(bad.near_id, bad.reason if bad.raw else "poison_page", bad.detail, bad.raw)


def _without_nul(raw: bytes) -> HubEvent:
    """The event with U+0000 taken out of its texts, which Postgres cannot hold (hub-api T13).

    Raises ValueError if what is left is no event any more.
    """
    _, events, undecodable = decode_events([strip_nul(raw)])
    if undecodable:
        raise ValueError(f"without its U+0000: {undecodable[0].detail}")
    return events[0]


def _stored(event: HubEvent) -> bytes:
    """What of an event ends up in a row, in comparable form; a displaced message is stored nowhere."""
    merge = event.mergeMessageBody
    proof = event.mergeUsernameProofBody
    chain = event.mergeOnChainEventBody
    return msgspec.json.encode([merge.message if merge else None, proof.usernameProof if proof else None, chain])
