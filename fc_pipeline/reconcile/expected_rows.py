"""raw log → the rows expected from its events: per table the deciding row of each key, as Arrow.

Uses the fold's own steps: decode, changes, last per key. Events that an earlier release quarantined and that were not
replayed yet are left out, even if this release understands them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from fc_pipeline.errors import LakeError
from fc_pipeline.fold.micro_batch import last_per_key, prepare
from fc_pipeline.heights import height_count
from fc_pipeline.hours import Hour
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.reconcile.quarantined import without_quarantined
from fc_pipeline.store.coverage import CoveredLine
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY, sum_activity
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DATA_TABLES, MESSAGE_SETS

__all__ = ["COMPARED_TABLES", "ComparedRange", "ExpectedRows", "expected_rows"]

COMPARED_TABLES: Final[dict[str, DataTable]] = {**DATA_TABLES, OTHER_LEAVES.name: OTHER_LEAVES}
"""Every table that a fold of the raw log makes, and is held against it."""

_MAX_ID: Final = 2**63 - 1


class ComparedRange(NamedTuple):
    """Event ids `first_id`…`last_id` of a shard, all of one hour, that both ledger and raw log have."""

    shard: int
    hour: Hour
    first_id: int
    last_id: int


@dataclass
class ExpectedRows:
    """Per table its rows (its Arrow schema and `shard`), and the event ids of which they are.

    `unread` names hours and shards of which the raw log cannot be read, with the reason; the rest has nothing of them.
    """

    rows: dict[str, pa.Table] = field(default_factory=dict[str, pa.Table])
    ranges: dict[str, list[ComparedRange]] = field(default_factory=lambda: defaultdict(list))
    activity_hours: list[Hour] = field(default_factory=list[Hour])
    quarantined: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    """Shard and id of events in quarantine: a row that claims one, as another release may have written, stands."""
    unread: dict[tuple[Hour, int], str] = field(default_factory=dict[tuple[Hour, int], str])
    events: int = 0

    def shards_of_fids(self) -> dict[int, int]:
        """The shard of every FID with a message in these hours; what comes on every shard says nothing."""
        found: dict[int, int] = {}
        for one in MESSAGE_SETS:
            rows = self.rows.get(one.name)
            if rows is not None and not one.table.is_of_one_shard:
                found.update(zip(rows["fid"].to_numpy().tolist(), rows["shard"].to_numpy().tolist(), strict=True))
        return found

    def spans(self, bounds: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """The event ids in which a version is to be explained: those compared, and all that no shard's ledger has."""
        ids = sorted({(one.first_id, one.last_id) for several in self.ranges.values() for one in several})
        joined: list[tuple[int, int]] = []
        for first, last in ids:
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(joined[-1][1], last))
            else:
                joined.append((first, last))
        lowest = min(origin for origin, _ in bounds)
        highest = max(top for _, top in bounds)
        return [*joined, (0, lowest - 1), (highest + 1, _MAX_ID)]


def expected_rows(
    log: EventLog,
    lines: Sequence[CoveredLine],
    quarantined: Mapping[int, Collection[bytes]],
    tables: frozenset[str],
    *,
    shard_count: int | None,
) -> ExpectedRows:
    """Fold what the log has of these lines for `tables`; `quarantined` has raw bytes of open records per shard."""
    found = ExpectedRows()
    parts: defaultdict[str, list[pa.Table]] = defaultdict(list)
    counts: defaultdict[Hour, list[pa.Table]] = defaultdict(list)
    places = sorted({(line.hour, line.shard) for line in lines})
    for hour, shard in places:
        own = [line._replace(tables=line.tables & tables) for line in lines if (line.hour, line.shard) == (hour, shard)]
        try:
            batches = list(_batches(log, hour, shard, own))
        except (LakeError, OSError) as error:
            found.unread[hour, shard] = str(error)
            continue
        for line, batch in batches:
            kept = without_quarantined(batch, quarantined.get(shard, ()))
            if kept is not batch:
                left_out = {event.id for event in batch.events} - {event.id for event in kept.events}
                found.quarantined |= {(shard, event_id) for event_id in left_out}
            _add(found, parts, counts, line, kept, shard_count)
    for name, several in parts.items():
        found.rows[name] = last_per_key(pa.concat_tables(several), COMPARED_TABLES[name])
    found.activity_hours = _counted_hours(lines, found)
    counted = [rows for hour in found.activity_hours for rows in counts[hour]]
    if counted:
        found.rows[FID_ACTIVITY.name] = _of_shard(sum_activity(pa.concat_tables(counted)), 0)
    return found


def _batches(
    log: EventLog, hour: Hour, shard: int, lines: Sequence[CoveredLine]
) -> Iterator[tuple[CoveredLine, EventBatch]]:
    """What the log holds of an hour's lines. Raises LakeError for a file that cannot be read."""
    for batch in log.read(log.files(hour, shard)):
        for line in lines:
            first, last = max(line.heights.first, batch.from_height), min(line.heights.last, batch.to_height)
            if first <= last:
                yield line, batch.within(first, last)


def _add(
    found: ExpectedRows,
    parts: dict[str, list[pa.Table]],
    counts: dict[Hour, list[pa.Table]],
    line: CoveredLine,
    batch: EventBatch,
    shard_count: int | None,
) -> None:
    micro = prepare(
        batch,
        partition=line.hour.key,
        hour_unix=line.hour.start_unix,
        tables=line.tables,
        shard_count=shard_count,
    )
    ids = ComparedRange(
        line.shard, line.hour, first_event_id(batch.from_height), first_event_id(batch.to_height + 1) - 1
    )
    for name in line.tables & COMPARED_TABLES.keys():
        found.ranges[name].append(ids)
    for name, rows in micro.rows.items():
        parts[name].append(_of_shard(rows, line.shard))
    if OTHER_LEAVES.name in line.tables:
        parts[OTHER_LEAVES.name].append(micro.leaves)
    if micro.activity is not None:
        counts[line.hour].append(micro.activity)
    found.quarantined |= {(line.shard, one.event_id) for one in micro.quarantined if one.reason != "nul_removed"}
    found.events += micro.events


def _of_shard(rows: pa.Table, shard: int) -> pa.Table:
    return rows.append_column("shard", pa.array(np.full(len(rows), shard, np.int32)))


def _counted_hours(lines: Sequence[CoveredLine], found: ExpectedRows) -> list[Hour]:
    """The hours of which all that the ledger covers was read, and counted in `fid_activity`."""
    heights: defaultdict[Hour, int] = defaultdict(int)
    for one in found.ranges[FID_ACTIVITY.name]:
        heights[one.hour] += (one.last_id + 1 - one.first_id) >> 14
    covered: defaultdict[Hour, int] = defaultdict(int)
    for line in lines:
        covered[line.hour] += height_count([line.heights])
    return sorted(hour for hour, blocks in covered.items() if heights[hour] == blocks)
