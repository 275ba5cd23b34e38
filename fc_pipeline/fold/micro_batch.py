"""One micro-batch: complete blocks of one shard and one hour, as Arrow tables ready for their transaction."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.fold.changes import Changes, changes_of
from fc_pipeline.fold.event_types import events_by_type
from fc_pipeline.fold.outcomes import EventOutcomes, events_of
from fc_pipeline.fold.quarantine import Quarantined
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.encoding import block_hash
from fc_pipeline.tables.fid_activity import FID_ACTIVITY, count_activity, sum_activity
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DERIVED_TABLES, LEAF_TABLES, MESSAGE_TABLES

__all__ = ["MicroBatch", "cover_parameters", "joined", "last_per_key", "prepare"]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What one transaction folds.

    `rows` holds the last row per key of each message table; `sources` those of tables that are not written, but that
    others which are derive from; `activity` counts of `fid_activity` (its Arrow schema). `events_by_type` counts all
    `events` (fold.event_types); `confirmed_events` is how many the blocks' BLOCK_CONFIRMED announced, `messages` how
    many rows one write per message would have written.
    `gone_casts` holds the FIDs that removed casts named (GONE_CASTS_SCHEMA), `rows_filtered` how many rows no target
    concerns. `leaves` holds the last row per key of `other_leaves`, whatever tables are named; `touched_fids`, each
    once and ascending, the FIDs of which leaves may change.
    `is_log_only`: the ledger is to say that these blocks were read, and no more; leaves are folded later with the rest.
    `last_block_unix` and `last_block_hash` are the time and hash of the block at `to_height`; `outcomes` counts the
    events by outcome, `events_with_first_rows` counts those with rows in these tables and none in such as were written
    before.
    """

    shard: int
    from_height: int
    to_height: int
    partition: str
    rows: dict[str, pa.Table]
    compactions: pa.Table
    leaves: pa.Table
    touched_fids: npt.NDArray[np.int64]
    activity: pa.Table | None
    gone_casts: pa.Table
    quarantined: tuple[Quarantined, ...]
    tables: frozenset[str]
    events: int
    confirmed_events: int
    messages: int
    size_bytes: int
    last_block_unix: int
    last_block_hash: bytes | None
    rows_filtered: int = 0
    outcomes: EventOutcomes = field(default_factory=EventOutcomes)
    events_with_first_rows: int = 0
    sources: dict[str, pa.Table] = field(default_factory=dict[str, pa.Table])
    events_by_type: Counter[str] = field(default_factory=Counter[str])
    is_log_only: bool = False

    @property
    def fids(self) -> npt.NDArray[np.int64]:
        """The users whose rows it writes, each once and ascending; what is of nobody counts as FID 0's."""
        tables = [*self.rows.values(), *self.sources.values(), self.compactions, self.leaves]
        fids = [table["fid"] for table in tables if "fid" in table.column_names]
        named = [several.fill_null(pa.scalar(0, pa.int64())).to_numpy() for several in fids]
        return np.unique(np.concatenate([self.touched_fids, *named])).astype(np.int64)


def prepare(
    batch: EventBatch,
    *,
    partition: str,
    hour_unix: int,
    tables: Collection[str],
    known_tables: Collection[str] = (),
    shard_count: int | None,
    log_only: bool = False,
) -> MicroBatch:
    """Complete blocks of one hour → their micro-batch, for the named tables only.

    `partition` is the hour's partition key, `hour_unix` its start, `known_tables` what these blocks were written to
    before, `shard_count` the network's, if known. `log_only`: none of
    `tables` is one of rows. All CPU work of a micro-batch is here; nothing touches Postgres.
    """
    changes = changes_of(batch, shard_count=shard_count)
    wanted = frozenset(tables)
    merged = {name: changes.rows[name] for name in MESSAGE_TABLES if name in changes.rows}
    rows = {n: last_per_key(rows, MESSAGE_TABLES[n]) for n, rows in merged.items() if n in wanted}
    compactions = changes.compactions if "links" in wanted else LINK_COMPACTIONS.arrow([])
    leaves = OTHER_LEAVES.arrow([]) if log_only else last_per_key(changes.leaves, OTHER_LEAVES)
    return MicroBatch(
        is_log_only=log_only,
        shard=batch.shard,
        from_height=batch.from_height,
        to_height=batch.to_height,
        partition=partition,
        rows=rows,
        compactions=compactions,
        leaves=leaves,
        touched_fids=_touched_fids(rows, compactions, leaves),
        activity=count_activity(merged, hour_unix * 1_000_000) if FID_ACTIVITY.name in wanted else None,
        gone_casts=changes.gone_casts,
        quarantined=tuple(changes.quarantined),
        tables=wanted,
        events=len(batch.raws),
        confirmed_events=_confirmed_events(batch),
        messages=changes.messages,
        size_bytes=batch.size_bytes,
        # Where no height has a block (feeds without BLOCK_CONFIRMED), all that is known is the hour.
        last_block_unix=max(batch.block_times.values(), default=hour_unix),
        last_block_hash=_last_block_hash(batch),
        outcomes=_outcomes(batch, changes, wanted),
        events_with_first_rows=_events_with_rows(changes, wanted.union(known_tables))
        - (_events_with_rows(changes, frozenset(known_tables)) if known_tables else 0),
        sources={n: merged[n] for n in _only_derived_from(wanted) if n in merged},
        events_by_type=events_by_type(batch),
    )


def _touched_fids(rows: Mapping[str, pa.Table], *others: pa.Table) -> npt.NDArray[np.int64]:
    """The FIDs of rows that are leaves, and of others that decide over leaves."""
    named = [*(rows[name] for name in LEAF_TABLES if name in rows), *others]
    fids = [table["fid"].drop_null().to_numpy() for table in named]
    return np.unique(np.concatenate(fids)).astype(np.int64)


def _only_derived_from(wanted: frozenset[str]) -> set[str]:
    """The tables that wanted ones are derived from, and that are not wanted themselves."""
    return {source for one in DERIVED_TABLES if one.name in wanted for source in one.sources} - wanted


def _events_with_rows(changes: Changes, tables: frozenset[str]) -> int:
    """How many events have a row in one of these tables."""
    kept = [rows for name, rows in changes.rows.items() if name in tables]
    return events_of([*kept, changes.compactions] if "links" in tables else kept)


def _outcomes(batch: EventBatch, changes: Changes, wanted: frozenset[str]) -> EventOutcomes:
    compactions = [changes.compactions] if len(changes.compactions) else []
    all_events = events_of([*changes.rows.values(), *compactions])
    wants_all = changes.rows.keys() <= wanted and (not compactions or "links" in wanted)
    with_rows = all_events if wants_all else _events_with_rows(changes, wanted)
    # A text without its U+0000 is stored; an event that no hub could send was not read.
    quarantined = sum(not record.is_note and record.reason != "poison_page" for record in changes.quarantined)
    # What is in quarantine already is not folded again: it is among the raw bytes alone.
    left_out = len(batch.raws) - len(batch.events) - sum(1 for bad in batch.undecodable if bad.raw)
    return EventOutcomes(changes.without_rows, quarantined + left_out, all_events - with_rows, with_rows)


def joined(parts: Sequence[MicroBatch]) -> MicroBatch:
    """Micro-batches of one shard, hour and set of tables, each beginning where the one before ends, as one."""
    if len(parts) == 1:
        return parts[0]
    first, last = parts[0], parts[-1]
    names = [name for name in MESSAGE_TABLES if any(name in part.rows for part in parts)]
    rows = {name: pa.concat_tables([part.rows[name] for part in parts if name in part.rows]) for name in names}
    activity = [part.activity for part in parts if part.activity is not None]
    sources = {name for part in parts for name in part.sources}
    return replace(
        last,
        from_height=first.from_height,
        rows={name: last_per_key(several, MESSAGE_TABLES[name]) for name, several in rows.items()},
        compactions=pa.concat_tables([part.compactions for part in parts]),
        leaves=last_per_key(pa.concat_tables([part.leaves for part in parts]), OTHER_LEAVES),
        touched_fids=np.unique(np.concatenate([part.touched_fids for part in parts])),
        activity=sum_activity(pa.concat_tables(activity)) if activity else None,
        gone_casts=pa.concat_tables([part.gone_casts for part in parts]),
        quarantined=tuple(record for part in parts for record in part.quarantined),
        events=sum(part.events for part in parts),
        confirmed_events=sum(part.confirmed_events for part in parts),
        messages=sum(part.messages for part in parts),
        size_bytes=sum(part.size_bytes for part in parts),
        outcomes=sum((part.outcomes for part in parts), EventOutcomes()),
        events_with_first_rows=sum(part.events_with_first_rows for part in parts),
        sources={n: pa.concat_tables([part.sources[n] for part in parts if n in part.sources]) for n in sources},
        events_by_type=sum((part.events_by_type for part in parts), Counter[str]()),
    )


def last_per_key(rows: pa.Table, table: DataTable) -> pa.Table:
    """The row of each key that wins by the table's order; among equals the last one."""
    order = _in_order(rows, table)
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows))
    ranked = rows.select(list(table.key)).append_column("rank", pa.array(rank, type=pa.int64()))
    # Threads cost more than they save on the rows of a micro-batch.
    last = ranked.group_by(list(table.key), use_threads=False).aggregate([("rank", "max")])["rank_max"]
    if len(last) == len(rows):
        return rows
    wins = np.zeros(len(rows), np.bool_)
    wins[order[last.to_numpy()]] = True
    return _chosen(rows, wins)


def _chosen(rows: pa.Table, wins: npt.NDArray[np.bool_]) -> pa.Table:
    """The rows that `wins` marks; parts of which all stay are not copied."""
    kept: list[pa.RecordBatch] = []
    start = 0
    for part in rows.to_batches():
        mask = wins[start : start + len(part)]
        start += len(part)
        kept.append(part if mask.all() else part.filter(pa.array(mask, type=pa.bool_())))
    return pa.Table.from_batches(kept, rows.schema)


def _in_order(rows: pa.Table, table: DataTable) -> npt.NDArray[np.int64]:
    """The places of the rows by the table's order, equal ones as they stand."""
    if table.order == ("version",):
        return np.argsort(rows["version"].to_numpy(), kind="stable")
    indices = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in table.order])
    return indices.to_numpy().astype(np.int64)


def _confirmed_events(batch: EventBatch) -> int:
    """Sum of `totalEvents` over confirmed blocks, plus what was read of blocks without BLOCK_CONFIRMED."""
    announced = {
        event.height: event.blockConfirmedBody.totalEvents
        for event in batch.events
        if event.blockConfirmedBody is not None
    }
    heights = np.array(batch.event_ids, np.int64) >> BLOCK_SEQUENCE_BITS
    unconfirmed = int(np.isin(heights, list(announced), invert=True).sum())
    return sum(announced.values()) + unconfirmed


def _last_block_hash(batch: EventBatch) -> bytes | None:
    """The hash of the block at the batch's end; None in a feed without BLOCK_CONFIRMED."""
    for event in reversed(batch.events):
        if event.height < batch.to_height:
            return None
        if event.blockConfirmedBody is not None:
            return block_hash(event.blockConfirmedBody)
    return None


def cover_parameters(
    batch: MicroBatch, run_id: str, rows_written: int, *, events_written: int = 0, seconds: float = 0.0
) -> tuple[Any, ...]:
    """What COVER takes; `events_written` is of how many events rows were written, `seconds` how long that took."""
    outcomes = batch.outcomes
    return (
        batch.shard,
        batch.from_height,
        batch.to_height,
        ",".join(sorted(batch.tables if batch.is_log_only else {*batch.tables, OTHER_LEAVES.name})),
        batch.partition,
        run_id,
        batch.events,
        batch.confirmed_events,
        rows_written,
        batch.last_block_unix,
        (batch.last_block_hash or b"").hex(),
        outcomes.with_rows,
        events_written,
        outcomes.without_rows,
        outcomes.filtered,
        outcomes.quarantined,
        len(batch.quarantined),
        1,
        batch.size_bytes,
        batch.messages,
        batch.rows_filtered,
        float(seconds),
    )
