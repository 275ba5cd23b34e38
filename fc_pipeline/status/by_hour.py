"""What the ledger and the quarantine show of the whole replica, by hour: holes, event counts, quarantined records."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from fc_pipeline.heights import HeightRange, height_count, without
from fc_pipeline.hours import Hour
from fc_pipeline.replica import Replica
from fc_pipeline.store import coverage, gaps
from fc_pipeline.store.query import query_of

__all__ = [
    "Coverage",
    "Hole",
    "HourCounts",
    "HourQuarantine",
    "UnknownType",
    "event_counts",
    "find_holes",
    "quarantine_by_hour",
    "unknown_types",
]

CATCH_UP_MINUTES: Final = 10
"""A hole is being filled while older hours were committed to, or the line above it began, within so many minutes."""

# Lines never overlap, so the previous line shows what is missing. `blocks` of the line above bounds its age: a block a
# second.
_HOLES: Final = sa.text("""
    WITH lines AS (
      SELECT c.shard, c.from_height, c.partition, c.to_height - c.from_height AS blocks, c.committed_at,
        greatest(coalesce(lag(c.to_height) OVER line + 1, s.origin_height), s.origin_height) AS expected,
        lag(c.partition) OVER line AS partition_before
      FROM pipeline.coverage AS c JOIN pipeline.shards AS s USING (shard)
      WINDOW line AS (PARTITION BY c.shard ORDER BY c.from_height))
    SELECT shard, expected, from_height - 1 AS last_missing, coalesce(partition_before, partition) AS first_partition,
      partition AS last_partition,
      committed_at - make_interval(secs => blocks) > now() - make_interval(mins => :minutes) AS is_new
    FROM lines WHERE from_height > expected ORDER BY shard, expected
""")
_IS_CATCHING_UP: Final = sa.text("""
    WITH newest AS (SELECT max(partition) AS partition FROM pipeline.coverage)
    SELECT EXISTS (SELECT FROM pipeline.coverage AS c, newest
        WHERE c.partition < newest.partition AND c.committed_at > now() - make_interval(mins => :minutes))
      OR EXISTS (SELECT FROM pipeline.leases AS l, newest WHERE l.partition < newest.partition
        AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = l.backend_pid))
""")
_COVERED: Final = sa.text(
    "SELECT count(DISTINCT partition) AS hours, coalesce(sum(to_height - from_height + 1), 0)::bigint AS blocks "
    "FROM pipeline.coverage"
)
_COUNTS: Final = sa.text("""
    SELECT partition, shard, sum(events)::bigint AS events, sum(confirmed_events)::bigint AS confirmed
    FROM pipeline.coverage GROUP BY partition, shard HAVING sum(events) <> sum(confirmed_events)
    ORDER BY partition DESC, shard
""")
_QUARANTINED: Final = sa.text("""
    SELECT c.partition, q.reason, count(*) AS records
    FROM pipeline.quarantine AS q CROSS JOIN LATERAL (
      SELECT partition, to_height FROM pipeline.coverage WHERE shard = q.shard AND from_height <= q.event_id >> 14
      ORDER BY from_height DESC LIMIT 1) AS c
    WHERE q.resolved_at IS NULL AND q.source = 'feed' AND q.event_id >> 14 <= c.to_height
    GROUP BY c.partition, q.reason
""")
_UNKNOWN_TYPES: Final = sa.text("""
    SELECT detail, count(*) AS records, min(first_seen) AS first_seen, max(last_seen) AS last_seen
    FROM pipeline.quarantine WHERE resolved_at IS NULL AND reason = 'unknown_type'
    GROUP BY detail ORDER BY count(*) DESC, detail
""")


@dataclass(frozen=True, slots=True)
class Hole:
    """Heights that neither the ledger nor a snapshot has, and the hours (partition keys) in which they lie."""

    shard: int
    heights: HeightRange
    first_hour: str
    last_hour: str
    is_being_filled: bool


@dataclass(frozen=True)
class Coverage:
    """All holes between where each shard begins and its newest folded height; and how much is there.

    `blocks_by_snapshots` are heights that the ledger lacks and snapshots have brought: these are no holes.
    """

    holes: Sequence[Hole]
    hours: int
    blocks: int
    blocks_by_snapshots: int

    @property
    def missing_blocks(self) -> int:
        """How many heights are missing over all shards."""
        return height_count([hole.heights for hole in self.holes])


@dataclass(frozen=True, slots=True)
class HourCounts:
    """Events of an hour and shard that were read, and that its blocks' BLOCK_CONFIRMED announced."""

    hour: str
    shard: int
    events: int
    confirmed_events: int


@dataclass(frozen=True)
class HourQuarantine:
    """Unresolved records of an hour by reason, beside its events."""

    hour: str
    events: int
    by_reason: Mapping[str, int] = field(default_factory=dict[str, int])

    @property
    def quarantined(self) -> int:
        """Records that are in no table; a text that only lost its NULs is."""
        return sum(count for reason, count in self.by_reason.items() if reason != "nul_removed")

    @property
    def share(self) -> float:
        """`quarantined` as a share of the events, 0 to 1."""
        return self.quarantined / self.events if self.events else 0.0


@dataclass(frozen=True, slots=True)
class UnknownType:
    """What no table of this release knows, how often it came, and when first and last (ISO 8601)."""

    detail: str
    records: int
    first_seen: str
    last_seen: str


def find_holes(replica: Replica) -> Coverage:
    """Holes in the whole ledger, in ascending order of shard and height."""
    minutes = {"minutes": CATCH_UP_MINUTES}
    with replica.engine.connect() as connection:
        found = connection.execute(_HOLES, minutes).all()
        is_catching_up = bool(connection.scalar(_IS_CATCHING_UP, minutes)) if found else False
        healed = {shard: gaps.by_snapshots(connection, shard) for shard in {row.shard for row in found}}
        covered = connection.execute(_COVERED).one()
    holes: list[Hole] = []
    unfolded = 0
    for row in found:
        whole = HeightRange(row.expected, row.last_missing)
        unfolded += height_count([whole])
        holes += [
            Hole(row.shard, left, row.first_partition, row.last_partition, is_catching_up or row.is_new)
            for left in without([whole], healed[row.shard])
        ]
    missing = height_count([hole.heights for hole in holes])
    return Coverage(holes, covered.hours, covered.blocks, unfolded - missing)


def event_counts(replica: Replica) -> tuple[list[HourCounts], int, int]:
    """The hours, newest first, of which another number of events was read than announced; and both totals."""
    with replica.engine.connect() as connection:
        rows = connection.execute(_COUNTS)
        different = [HourCounts(row.partition, row.shard, row.events, row.confirmed) for row in rows]
        events, confirmed = coverage.event_totals(query_of(connection))
    return different, events, confirmed


def quarantine_by_hour(replica: Replica) -> list[HourQuarantine]:
    """The hours with unresolved records of the feed, the largest share first."""
    by_hour: defaultdict[str, dict[str, int]] = defaultdict(dict)
    with replica.engine.connect() as connection:
        for row in connection.execute(_QUARANTINED):
            by_hour[row.partition][row.reason] = row.records
        events = coverage.events_by_hour(query_of(connection), [Hour.from_key(partition) for partition in by_hour])
    found = [
        HourQuarantine(partition, events.get(Hour.from_key(partition), 0), reasons)
        for partition, reasons in by_hour.items()
    ]
    return sorted(found, key=lambda one: (-one.share, one.hour))


def unknown_types(replica: Replica) -> list[UnknownType]:
    """What is in quarantine because this release does not know its type, the most frequent first."""
    with replica.engine.connect() as connection:
        return [
            UnknownType(row.detail, row.records, _shown(row.first_seen), _shown(row.last_seen))
            for row in connection.execute(_UNKNOWN_TYPES)
        ]


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(sep=" ", timespec="seconds")
