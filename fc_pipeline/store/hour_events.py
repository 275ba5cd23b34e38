"""Events of an hour by type, as the hub sent them; and which hours of the ledger have been counted whole."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

import sqlalchemy as sa

from fc_pipeline.hours import HOUR_SECONDS, Hour

__all__ = ["ADD_EVENTS", "CountedHour", "counted_hours", "events_of_hours", "parameters"]

ADD_EVENTS: Final = (
    "INSERT INTO pipeline.hour_events AS t (partition, shard, event_type, events) "
    "SELECT $1, $2::integer, c.event_type, c.events FROM unnest(string_to_array($3, ','), "
    "string_to_array($4, ',')::bigint[]) AS c (event_type, events) "
    "ON CONFLICT (partition, shard, event_type) DO UPDATE SET events = t.events + excluded.events"
)
"""Counts of heights that are folded for the first time; in the transaction that covers them."""

# Of each shard and hour: whether its lines leave no hole, follow on from the hour before, and are followed by the next
# one; and whether each of its events was counted (releases before 0021 did not).
_HOURS: Final = sa.text("""
    WITH lines AS (
      SELECT shard, partition, min(from_height) AS first, max(to_height) AS last, sum(events) AS events,
        sum(to_height - from_height + 1) AS heights, max(last_block_at) AS last_block_at
      FROM pipeline.coverage WHERE partition >= :since GROUP BY shard, partition),
    counts AS (
      SELECT shard, partition, sum(events) AS events FROM pipeline.hour_events WHERE partition >= :since GROUP BY 1, 2),
    neighbours AS (
      SELECT *, lag(last) OVER of_shard AS last_before, lead(first) OVER of_shard AS first_after
      FROM lines WINDOW of_shard AS (PARTITION BY shard ORDER BY first))
    SELECT l.partition, count(*) AS shards,
      bool_and(coalesce(
        l.heights = l.last - l.first + 1 AND l.last_before = l.first - 1 AND c.events = l.events, false)) AS is_whole,
      bool_and(coalesce(l.first_after = l.last + 1, false)) AS has_ended,
      min(l.last_block_at) AS level_at, max(l.last_block_at) AS last_block_at
    FROM neighbours AS l LEFT JOIN counts AS c USING (shard, partition)
    GROUP BY l.partition ORDER BY l.partition
""")
_EVENTS: Final = sa.text(
    "SELECT partition, event_type, sum(events)::bigint AS events FROM pipeline.hour_events "
    "WHERE partition = ANY (:partitions) GROUP BY 1, 2"
)
_ORIGINS: Final = sa.text("SELECT origin_at FROM pipeline.shards")


@dataclass(frozen=True, slots=True)
class CountedHour:
    """An hour whose events are counted from its beginning on, in all shards.

    `seconds` is how much of it every shard has; `apart_seconds` by how much the shards differ there. Where `has_ended`,
    these are 3600 and 0.
    """

    hour: Hour
    has_ended: bool
    seconds: float
    apart_seconds: float


def parameters(partition: str, shard: int, events_by_type: Mapping[str, int]) -> tuple[Any, ...]:
    """What ADD_EVENTS takes."""
    return partition, shard, ",".join(events_by_type), ",".join(map(str, events_by_type.values()))


def counted_hours(connection: sa.Connection, since: Hour) -> list[CountedHour]:
    """The hours from `since` on that were counted whole, ascending; the last one may not have ended yet."""
    origins = [at.astimezone(UTC).timestamp() for at in connection.scalars(_ORIGINS)]
    found: list[CountedHour] = []
    for row in connection.execute(_HOURS, {"since": since.key}):
        hour = Hour.from_key(row.partition)
        if not row.is_whole or row.shards < sum(origin < hour.start_unix for origin in origins):
            continue
        if row.has_ended:
            found.append(CountedHour(hour, True, HOUR_SECONDS, 0.0))
        else:
            seconds = row.level_at.astimezone(UTC).timestamp() - hour.start_unix
            found.append(CountedHour(hour, False, seconds, (row.last_block_at - row.level_at).total_seconds()))
    return found


def events_of_hours(connection: sa.Connection, hours: Collection[Hour]) -> dict[Hour, dict[str, int]]:
    """Events by type of each of these hours, over all shards."""
    found: dict[Hour, dict[str, int]] = {hour: {} for hour in hours}
    for row in connection.execute(_EVENTS, {"partitions": [hour.key for hour in hours]}):
        found[Hour.from_key(row.partition)][row.event_type] = row.events
    return found
