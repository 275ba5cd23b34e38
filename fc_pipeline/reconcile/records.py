"""Records of by-FID snapshots → rows of the tables: what the feed's events become, without an event of their own.

A record that no table can hold is quarantined alone, as in the feed: with its snapshot's version in the place of an
event id, and its raw bytes.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import msgspec
import pyarrow as pa

from fc_pipeline.fold.quarantine import Quarantined, has_nul, nul_note, reason_of, strip_nul
from fc_pipeline.hub import snapshot
from fc_pipeline.hub.decode import DECODE_ERRORS
from fc_pipeline.hub.snapshot import ALL_KNOWN, LEAVES, NO_RECORDS, ToldLeaves
from fc_pipeline.hub.wire import Message, OnChainEvent, Signer, UsernameProof
from fc_pipeline.tables import gasless_keys, on_chain_events, username_proofs
from fc_pipeline.tables.columns import Row
from fc_pipeline.tables.encoding import UnknownValue, hex_bytes
from fc_pipeline.tables.message import Adds, Deletion
from fc_pipeline.tables.other_leaves import LEND_BYTE, LISTED_TYPES, OTHER_LEAVES, leaf_rows, told_rows
from fc_pipeline.tables.registry import LISTED_TABLES, MESSAGE_SETS

__all__ = ["RowlessRecord", "SnapshotRows", "snapshot_rows"]

_MESSAGE: Final = msgspec.json.Decoder(Message)
_PROOF: Final = msgspec.json.Decoder(UsernameProof)
_ON_CHAIN: Final = msgspec.json.Decoder(OnChainEvent)
_SIGNER: Final = msgspec.json.Decoder(Signer)
_TOLD: Final = msgspec.json.Decoder(ToldLeaves)


class RowlessRecord(NamedTuple):
    """A record that is not among the rows: a live row of its FID and table may be of it, the one with its hash.

    `hash` is None if the record has none.
    """

    fid: int
    table: str
    hash: bytes | None


@dataclass(slots=True)
class SnapshotRows:
    """Rows per table (Arrow, the schema of each), and what did not become one; `records` counts all."""

    rows: dict[str, pa.Table] = field(default_factory=dict[str, pa.Table])
    quarantined: dict[int, list[Quarantined]] = field(default_factory=lambda: defaultdict(list))
    """Per shard."""
    rowless: list[RowlessRecord] = field(default_factory=list[RowlessRecord])
    leaves: pa.Table = field(default_factory=lambda: OTHER_LEAVES.arrow([]))
    """What is no row of another table, as rows of `other_leaves`."""
    leaf_lists: list[tuple[int, int | None, int]] = field(default_factory=list[tuple[int, int | None, int]])
    """FID, shard (None: every shard) and type byte of which all leaves are among the records."""
    leaves_known: list[int] = field(default_factory=list[int])
    """The FIDs of which every leaf is known that can be listed."""
    names_asked: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    """FID and name of what was asked for by name."""
    keys_read: list[int] = field(default_factory=list[int])
    """The FIDs whose gasless keys are all among the records."""
    records: int = 0


_SETS: Final = {one.name: one for one in MESSAGE_SETS}


@dataclass(frozen=True, slots=True)
class _Line:
    """A record with what its file says of it."""

    fid: int
    shard: int
    version: int
    kind: str
    raw: bytes


@dataclass(slots=True)
class _Sorted:
    """Records on their way to becoming rows."""

    adds: dict[str, Adds] = field(default_factory=lambda: defaultdict(Adds))
    add_lines: dict[str, list[_Line]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, list[Row]] = field(default_factory=lambda: defaultdict(list))
    leaves: list[Row] = field(default_factory=list[Row])
    without_nul: list[_Line] = field(default_factory=list[_Line])
    refused: set[_Line] = field(default_factory=set[_Line])
    """What had to be quarantined after all, when columns were made."""


def snapshot_rows(batch: pa.RecordBatch) -> SnapshotRows:
    """Records as the lake has them (fid, shard, version, kind, record, fetched_at) → rows.

    A row's version is its snapshot's. A CAST_REMOVE becomes the tombstone of its target, deleted when it was fetched.
    """
    found = SnapshotRows()
    made = _Sorted()
    columns = [cast("list[Any]", batch.column(n).to_pylist()) for n in ("fid", "shard", "version", "kind", "record")]
    times = cast("list[datetime]", batch.column("fetched_at").to_pylist())
    for (fid, shard, version, kind, raw), fetched_at in zip(zip(*columns, strict=True), times, strict=True):
        line = _Line(fid, shard, version, kind, raw)
        if kind == NO_RECORDS or _is_statement(line, found, made):
            continue
        found.records += 1
        try:
            stored = strip_nul(raw) if has_nul(raw) else raw
            _sort(line, stored, fetched_at, made)
        except (ValueError, *DECODE_ERRORS) as error:
            _quarantined(line, error, found)
        else:
            if stored is not raw and stored != raw:
                made.without_nul.append(line)
    _in_columns(made, found)
    for line in made.without_nul:
        if line not in made.refused:
            found.quarantined[line.shard].append(nul_note(line.version, line.raw, line.kind, line.fid))
    return found


def _is_statement(line: _Line, found: SnapshotRows, made: _Sorted) -> bool:
    """Whether a line is no record, but says something of those that are there: it is noted."""
    fid = line.fid
    match line.kind:
        case snapshot.NAMES_ASKED:
            found.names_asked.append((fid, line.raw.decode()))
        case snapshot.KEYS_READ:
            found.keys_read.append(fid)
        case snapshot.LEAVES_TOLD:
            told = _TOLD.decode(line.raw)
            made.leaves += told_rows(told.shard, fid, told.leaves, line.version)
            found.leaf_lists.append((fid, told.shard, told.type_byte))
        case snapshot.LEAVES_READ:
            found.leaf_lists += [(fid, line.shard, type_byte) for type_byte in LISTED_TYPES]
            found.leaf_lists.append((fid, None, LEND_BYTE))
            found.leaves_known += [fid] if line.raw == ALL_KNOWN else []
        case _:
            return False
    return True


def _sort(line: _Line, stored: bytes, fetched_at: datetime, made: _Sorted) -> None:
    """Put one record where it belongs. Raises ValueError or a decoder's error for what is no row."""
    if line.kind == "username_proofs":
        proof = _PROOF.decode(stored)
        _require_fid(line, proof.fid)
        made.rows[line.kind].append(username_proofs.listed(proof, line.version))
        return
    if line.kind == "on_chain_events":
        event = _ON_CHAIN.decode(stored)
        _require_fid(line, event.fid)
        made.rows[line.kind].append(on_chain_events.merged(event, line.version))
        return
    if line.kind == gasless_keys.GASLESS_KEYS.name:
        signer = _SIGNER.decode(stored)
        _require_fid(line, signer.fid)
        made.rows[line.kind].append(gasless_keys.listed(signer, line.version, _micros(fetched_at)))
        return
    if line.kind == LEAVES:
        message = _MESSAGE.decode(stored)
        _require_fid(line, message.data.fid)
        made.leaves += leaf_rows(line.shard, message, line.version)
        return
    if line.kind not in _SETS:
        raise UnknownValue(f"unknown kind of record {line.kind[:80]!r}")
    message = _MESSAGE.decode(stored)
    _require_fid(line, message.data.fid)
    message_set = _SETS[line.kind]
    if message_set.lists_removes and message_set.removed and message.data.type == message_set.remove_type:
        deletion = Deletion(_micros(fetched_at), "removed")
        leaves = leaf_rows(line.shard, message, line.version)
        made.rows[line.kind].append(message_set.removed(message, line.version, deletion))
        made.leaves += leaves
        return
    if message.data.type != message_set.add_type:
        raise UnknownValue(f"message type {message.data.type[:80]!r} among {line.kind}")
    message_set.add(made.adds[line.kind], message, line.version)
    made.add_lines[line.kind].append(line)


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)


def _require_fid(line: _Line, fid: int) -> None:
    if fid != line.fid:
        raise ValueError(f"a record of FID {fid} among the answers for FID {line.fid}")


def _in_columns(made: _Sorted, found: SnapshotRows) -> None:
    parts = {name: [LISTED_TABLES[name].arrow(rows)] for name, rows in made.rows.items()}
    for name, adds in made.adds.items():
        rows, reasons = _SETS[name].rows_of(adds)
        for place, reason in reasons.items():
            made.refused.add(made.add_lines[name][place])
            _quarantined(made.add_lines[name][place], reason, found)
        parts.setdefault(name, []).append(rows)
    found.rows = {name: pa.concat_tables(several) for name, several in parts.items()}
    found.leaves = OTHER_LEAVES.arrow(made.leaves)


def _quarantined(line: _Line, error: Exception, found: SnapshotRows) -> None:
    # A decoder's error is a ValueError as well.
    reason = "undecodable" if isinstance(error, DECODE_ERRORS) else reason_of(error)
    found.quarantined[line.shard].append(Quarantined(line.version, reason, str(error), line.raw, line.kind, line.fid))
    found.rowless.append(RowlessRecord(line.fid, line.kind, _hash_of(line.raw)))


class _Hashed(msgspec.Struct):
    hash: str


def _hash_of(raw: bytes) -> bytes | None:
    """The record's hash if it can be had; proofs and contract events have none."""
    try:
        return hex_bytes(msgspec.json.decode(raw, type=_Hashed).hash) or None
    except (ValueError, *DECODE_ERRORS):
        return None
