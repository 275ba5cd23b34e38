"""Replayed events in the ledger: outcomes of events that were in quarantine, in their hour's line."""

from typing import Any

from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.outcomes import EventOutcomes
from fc_pipeline.fold.quarantine import IS_OPEN_EVENT

__all__ = ["MOVE_REPLAYED", "replayed_parameters"]

MOVE_REPLAYED = (
    "WITH line AS (SELECT shard, from_height, to_height, events_quarantined FROM pipeline.coverage "
    "WHERE shard = $1::integer AND from_height <= $2::bigint AND to_height >= $3::bigint), "
    "still_open AS (SELECT count(*) AS records FROM pipeline.quarantine AS q JOIN line AS l ON q.shard = l.shard "
    f"AND q.event_id >= l.from_height << 14 AND q.event_id < (l.to_height + 1) << 14 WHERE {IS_OPEN_EVENT}), "
    # An event that an older release has quarantined once more was counted as folded before.
    "moved AS (SELECT l.shard, l.from_height, greatest(0, least(l.events_quarantined - o.records, "
    "$4::bigint + $5::bigint + $6::bigint)) AS events FROM line AS l CROSS JOIN still_open AS o) "
    "UPDATE pipeline.coverage AS c SET events_quarantined = c.events_quarantined - m.events, "
    "events_with_rows = c.events_with_rows + least(m.events, $4::bigint), "
    "events_filtered = c.events_filtered + least(greatest(m.events - $4::bigint, 0), $5::bigint), "
    "events_without_rows = c.events_without_rows + greatest(m.events - $4::bigint - $5::bigint, 0), "
    "events_written = c.events_written + least(m.events, $4::bigint, $7::bigint), "
    "rows_written = c.rows_written + $8::bigint, naive_rows = c.naive_rows + $9::bigint, "
    "rows_filtered = c.rows_filtered + $10::bigint, postgres_seconds = c.postgres_seconds + $11::double precision "
    "FROM moved AS m WHERE c.shard = m.shard AND c.from_height = m.from_height"
)
"""Record the outcomes of events that were in quarantine in their line, once they are resolved."""


def replayed_parameters(
    batch: MicroBatch, outcomes: EventOutcomes, rows_written: int, *, events_written: int, seconds: float
) -> tuple[Any, ...]:
    """What MOVE_REPLAYED takes; the batch is of one line."""
    return (
        batch.shard,
        batch.from_height,
        batch.to_height,
        outcomes.with_rows,
        outcomes.filtered,
        outcomes.without_rows,
        events_written,
        rows_written,
        batch.messages,
        batch.rows_filtered,
        float(seconds),
    )
