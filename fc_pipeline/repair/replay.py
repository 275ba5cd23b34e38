"""Quarantined records → micro-batches: those that this release understands although another one quarantined them.

A record of the feed is folded by its event id, as it would have been at first; one of a snapshot by the version of its
FID's newest snapshot, if that still lists it. Nothing here touches Postgres or the lake.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from fc_pipeline.fold.changes import GONE_CASTS_SCHEMA
from fc_pipeline.fold.micro_batch import MicroBatch, last_per_key, prepare
from fc_pipeline.fold.quarantine import FEED, NUL_REASON, Quarantined, nul_note
from fc_pipeline.hub.decode import decode_in_order
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.wire import height_of
from fc_pipeline.reconcile.records import snapshot_rows
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DATA_TABLES, MESSAGE_TABLES

__all__ = ["NEVER_REPLAYED", "CurrentSnapshot", "QuarantineLine", "Replayed", "replay_events", "replay_snapshots"]

NEVER_REPLAYED: Final = frozenset({"misplaced", NUL_REASON, "poison_page"})
"""Reasons that no release can resolve: no place to fold it at, folded already, nothing to fold."""


@dataclass(frozen=True, slots=True)
class QuarantineLine:
    """A line of `pipeline.quarantine`."""

    shard: int
    event_id: int
    raw_sha256: bytes
    reason: str
    detail: str
    raw: bytes
    first_seen: datetime
    last_seen: datetime
    resolved_at: datetime | None
    source: str
    fid: int | None

    @property
    def name(self) -> str:
        """How a person names it: shard, event id, and the beginning of the SHA-256 of its bytes."""
        return f"{self.shard}-{self.event_id}-{self.raw_sha256.hex()[:8]}"

    @property
    def is_of_feed(self) -> bool:
        """Whether it came as an event."""
        return self.source == FEED

    @property
    def height(self) -> int:
        """The block that it stood in; of a snapshot, the head."""
        return height_of(self.event_id)

    def as_resolved(self) -> Quarantined:
        """The key of the line in Postgres."""
        return Quarantined(self.event_id, self.reason, self.detail, self.raw, self.source, self.fid)


class CurrentSnapshot(NamedTuple):
    """Of an FID's newest folded snapshot: its version, when it was fetched, and when folded."""

    version: int
    fetched_at: datetime
    folded_at: datetime


@dataclass(frozen=True, slots=True)
class Replayed:
    """A micro-batch to fold, the lines that are resolved by that, and why each other one is left.

    What was stored without its U+0000 is in the batch as quarantined: it is folded, and stays noted.
    """

    batch: MicroBatch
    resolved: Sequence[QuarantineLine]
    left: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name → reason."""


def replay_events(
    lines: Iterable[QuarantineLine],
    block_times: Mapping[int, int],
    *,
    shard: int,
    partition: str,
    hour_unix: int,
    shard_count: int | None,
) -> Replayed:
    """Lines of the feed, of one shard and hour and each with another event id → what is to be folded.

    `block_times` has the unix seconds of their blocks.
    """
    ordered = sorted(lines, key=lambda line: line.event_id)
    left: dict[str, str] = {}
    understood: list[QuarantineLine] = []
    batch = EventBatch(shard, ordered[0].height, ordered[-1].height, block_times=dict(block_times))
    for line in ordered:
        decoded = decode_in_order([line.raw], shard=shard)
        if decoded.undecodable:
            left[line.name] = decoded.undecodable[0].detail
        elif decoded.events[0].id != line.event_id:
            left[line.name] = f"it says that its id is {decoded.events[0].id}, and stood behind {line.event_id}"
        else:
            understood.append(line)
            batch.raws.append(line.raw)
            batch.event_ids.append(line.event_id)
            batch.events += decoded.events
    micro = prepare(batch, partition=partition, hour_unix=hour_unix, tables=tuple(DATA_TABLES), shard_count=shard_count)
    refused = {record.event_id: record.detail for record in micro.quarantined if not record.is_note}
    noted = {record.event_id for record in micro.quarantined if record.is_note}
    left |= {line.name: refused[line.event_id] for line in understood if line.event_id in refused}
    notes = tuple(_note(line) for line in understood if line.event_id in noted)
    resolved = [line for line in understood if line.event_id not in refused and line.event_id not in noted]
    return Replayed(replace(micro, quarantined=notes), resolved, left)


def replay_snapshots(
    lines: Sequence[QuarantineLine], current: Mapping[int, CurrentSnapshot], *, shard: int
) -> Replayed:
    """Lines of snapshots, of one shard → what is to be folded.

    What the FID's newest snapshot no longer lists is resolved without a row: the hub does not have it any more. A
    gasless key is left to the next snapshot, which compares all of the FID's keys.
    """
    listed = [line for line in lines if line.fid is not None and line.fid in current and _is_listed(line, current)]
    found = snapshot_rows(_as_records(listed, current))
    aside = [record for several in found.quarantined.values() for record in several]
    refused = {record.raw: record.detail for record in aside if not record.is_note}
    noted = {record.raw for record in aside if record.is_note}
    left = {line.name: refused[line.raw] for line in listed if line.raw in refused}
    left |= {line.name: "no snapshot of its FID was folded" for line in lines if line.fid not in current}
    understood = [line for line in listed if line.source == GASLESS_KEYS.name and line.name not in left]
    left |= {line.name: "it is understood now: the next snapshot of its FID brings it" for line in understood}
    merged = {name: rows for name, rows in found.rows.items() if name in MESSAGE_TABLES}
    rows = {name: last_per_key(several, MESSAGE_TABLES[name]) for name, several in merged.items()}
    batch = MicroBatch(
        shard=shard,
        from_height=0,
        to_height=0,
        partition="",
        rows=rows,
        compactions=LINK_COMPACTIONS.arrow([]),
        leaves=last_per_key(found.leaves, OTHER_LEAVES),
        touched_fids=np.unique(np.array([line.fid for line in listed], np.int64)),
        activity=None,
        gone_casts=GONE_CASTS_SCHEMA.empty_table(),
        quarantined=tuple(_note(line) for line in listed if line.raw in noted),
        tables=frozenset(DATA_TABLES),
        events=0,
        confirmed_events=0,
        messages=found.records,
        size_bytes=sum(len(line.raw) for line in listed),
        last_block_unix=0,
        last_block_hash=None,
    )
    return Replayed(batch, [one for one in lines if one.name not in left and one.raw not in noted], left)


def _note(line: QuarantineLine) -> Quarantined:
    return nul_note(line.event_id, line.raw, line.source, line.fid)


def _is_listed(line: QuarantineLine, current: Mapping[int, CurrentSnapshot]) -> bool:
    """A record is seen in the transaction that folds its snapshot: `now()` is the same for both."""
    return line.fid is not None and line.last_seen >= current[line.fid].folded_at


def _as_records(lines: Sequence[QuarantineLine], current: Mapping[int, CurrentSnapshot]) -> pa.RecordBatch:
    now = [current[line.fid] for line in lines if line.fid is not None]
    return pa.RecordBatch.from_pydict(
        {
            "fid": pa.array([line.fid for line in lines], pa.int64()),
            "shard": pa.array([line.shard for line in lines], pa.int32()),
            "version": pa.array([one.version for one in now], pa.int64()),
            "kind": pa.array([line.source for line in lines], pa.string()),
            "record": pa.array([line.raw for line in lines], pa.binary()),
            "fetched_at": pa.array([one.fetched_at for one in now], pa.timestamp("us", tz="UTC")),
        }
    )
