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

# Between what is covered without a hole. Only of the lines on both sides of a hole it is looked up of which hour they
# are; the blocks of the line above bound its age: a block a second.
_HOLES: Final = sa.text("""
    WITH joined AS (
      SELECT c.shard, range_agg(r) AS heights FROM pipeline.covered_heights AS c
        CROSS JOIN LATERAL unnest(c.heights) AS r GROUP BY c.shard),
    spans AS (SELECT shard, lower(h) AS first, upper(h) AS beyond FROM joined CROSS JOIN LATERAL unnest(heights) AS h),
    bounds AS (
      SELECT p.shard, p.first, greatest(coalesce(
        lag(p.beyond) OVER (PARTITION BY p.shard ORDER BY p.first), s.origin_height), s.origin_height) AS expected
      FROM spans AS p JOIN pipeline.shards AS s USING (shard))
    SELECT b.shard, b.expected, b.first - 1 AS last_missing,
      coalesce(below.partition, above.partition) AS first_partition, above.partition AS last_partition,
      above.committed_at - make_interval(secs => above.to_height - above.from_height)
        > now() - make_interval(mins => :minutes) AS is_new
    FROM bounds AS b JOIN pipeline.coverage AS above ON above.shard = b.shard AND above.from_height = b.first
      LEFT JOIN LATERAL (SELECT partition FROM pipeline.coverage WHERE shard = b.shard AND from_height < b.first
        ORDER BY from_height DESC LIMIT 1) AS below ON true
    WHERE b.first > b.expected ORDER BY b.shard, b.expected
""")
_IS_CATCHING_UP: Final = sa.text("""
    WITH newest AS (SELECT max(partition) AS partition FROM pipeline.coverage)
    SELECT EXISTS (SELECT FROM pipeline.coverage AS c, newest
        WHERE c.partition < newest.partition AND c.committed_at > now() - make_interval(mins => :minutes))
      OR EXISTS (SELECT FROM pipeline.leases AS l, newest WHERE l.partition < newest.partition
        AND EXISTS (SELECT FROM pg_stat_activity WHERE pid = l.backend_pid))
""")
_COVERED: Final = sa.text(
    "SELECT (SELECT count(DISTINCT partition) FROM pipeline.coverage) AS hours, (SELECT coalesce(sum(upper(r) - "
    "lower(r)), 0)::bigint FROM pipeline.covered_heights CROSS JOIN LATERAL unnest(heights) AS r) AS blocks"
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
