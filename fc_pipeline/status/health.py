"""Health of an hour and of the replica: coverage, block counts, freshness, keys, quarantine. Read-only."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from fc_pipeline import heights
from fc_pipeline.errors import HubError
from fc_pipeline.feed.lost_log import LostLog, lost_log
from fc_pipeline.feed.survey import Survey, survey
from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.hub.clock import HubClock
from fc_pipeline.hub.probe import probe_pool
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.replica import Replica
from fc_pipeline.store import gaps, ledger
from fc_pipeline.store.gaps import Gap
from fc_pipeline.tables.columns import DataTable

__all__ = [
    "CoverageFinding",
    "FreshnessFinding",
    "coverage_of_hours",
    "covered_hours",
    "freshness",
    "has_unique_key",
    "lost_of",
    "null_or_duplicate_keys",
    "open_gaps",
    "rows_of_heights",
]


_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CoverageFinding:
    """Holes per shard in an hour, and whether it is known where the hour begins and ends.

    `blocks_by_snapshots` are heights that the ledger lacks and snapshots have brought: these are no holes.
    """

    holes: dict[int, list[HeightRange]]
    covered_blocks: int
    blocks_by_snapshots: int
    bounds_known: bool

    @property
    def missing_blocks(self) -> int:
        """How many heights are missing over all shards."""
        return sum(hole.last - hole.first + 1 for holes in self.holes.values() for hole in holes)


@dataclass(frozen=True)
class FreshnessFinding:
    """Per shard: by how many blocks and seconds the ledger lies behind the hub's head."""

    blocks_behind: dict[int, int]
    lag_seconds: dict[int, float]


def coverage_of_hours(replica: Replica, hours: Sequence[Hour]) -> CoverageFinding:
    """Holes in the ledger of adjacent hours, of which the last may still be written.

    Where the first and last folded heights adjoin those of the neighbouring hours, the ledger itself is the proof;
    elsewhere the hub is asked where the hours begin and end. If it cannot say, only what lies between counts.
    """
    folded = {shard: _folded(replica, shard, hours) for shard in _shards(replica)}
    bounds = {shard: _bounds_by_ledger(replica, shard, ranges) for shard, ranges in folded.items()}
    if any(bound is None for bound in bounds.values()):
        try:
            bounds |= asyncio.run(_bounds_by_hub(replica, hours))
        except HubError as error:
            _log.warning("coverage_not_confirmed hours=%s-%s reason=%r", hours[0].key, hours[-1].key, str(error))
    unfolded = {shard: _holes(ranges, bounds.get(shard)) for shard, ranges in folded.items()}
    with replica.engine.connect() as connection:
        holes = {s: heights.without(ranges, gaps.by_snapshots(connection, s)) for s, ranges in unfolded.items()}
    return CoverageFinding(
        holes,
        sum(heights.height_count(ranges) for ranges in folded.values()),
        sum(heights.height_count(unfolded[shard]) - heights.height_count(holes[shard]) for shard in unfolded),
        all(bounds.get(shard) is not None for shard in folded),
    )


def lost_of(replica: Replica, hours: Sequence[Hour], *, reading: bool) -> dict[int, LostLog]:
    """Per shard what the raw log has lost of these hours; with `reading`, every file is read for it."""
    found = {shard: lost_log(replica, shard, hours, reading=reading) for shard in _shards(replica)}
    return {shard: lost for shard, lost in found.items() if lost}


def covered_hours(replica: Replica) -> set[Hour]:
    """The hours of which the ledger covers something."""
    with replica.engine.connect() as connection:
        return {Hour.from_key(key) for key in ledger.covered_partitions(connection)}


def open_gaps(replica: Replica) -> list[Gap]:
    """The heights that the feed no longer has and nothing has healed yet."""
    with replica.engine.connect() as connection:
        return gaps.all_gaps(connection, only_open=True)


_Bounds = tuple[int, int | None]


def _shards(replica: Replica) -> list[int]:
    with replica.engine.connect() as connection:
        return sorted(ledger.origins(connection))


def _folded(replica: Replica, shard: int, hours: Sequence[Hour]) -> list[HeightRange]:
    with replica.engine.connect() as connection:
        return [r for hour in hours for r in ledger.covered(connection, shard, partition=hour.key)]


def _holes(folded: Sequence[HeightRange], bounds: _Bounds | None) -> list[HeightRange]:
    """The heights that must be there and are not: those of the hours, up to the last folded one while it is written."""
    first = folded[0].first if folded else 0
    last = folded[-1].last if folded else -1
    if bounds is not None:
        first = bounds[0]
        last = bounds[1] if bounds[1] is not None else max(last, first - 1)
    return heights.holes(folded, first, last)


def _bounds_by_ledger(replica: Replica, shard: int, folded: Sequence[HeightRange]) -> _Bounds | None:
    """First and last height, if the ledger goes on without a hole on both sides."""
    if not folded:
        return None
    first, last = folded[0].first, folded[-1].last
    with replica.engine.connect() as connection:
        begins = first == ledger.origins(connection)[shard].height or ledger.is_covered(connection, shard, first - 1)
        return (first, last) if begins and ledger.is_covered(connection, shard, last + 1) else None


async def _bounds_by_hub(replica: Replica, hours: Sequence[Hour]) -> dict[int, _Bounds | None]:
    """Per shard, first and last height of the hours as the hub has them; no last one while they are not over.

    None for a shard of which the hub no longer has the beginning of the hours.
    """
    async with probe_pool(replica.hub_endpoints) as hubs:
        state = await survey(replica, hubs)
        bounds: dict[int, _Bounds | None] = {}
        for shard in state.shards:
            clock = state.clocks[shard.shard]
            _, oldest_unix = await clock.oldest()
            known = oldest_unix <= hours[0].start_unix or shard.origin_height >= shard.oldest_height
            first = max(shard.origin_height, await clock.first_height_at(hours[0].start_unix))
            bounds[shard.shard] = (first, await _end(clock, shard.head_unix, hours[-1])) if known else None
        return bounds


async def _end(clock: HubClock, head_unix: int, hour: Hour) -> int | None:
    return await clock.first_height_at(hour.end_unix) - 1 if head_unix >= hour.end_unix else None


def freshness(replica: Replica) -> FreshnessFinding:
    """How far the ledger is behind the hub's head now. Raises HubError if no hub answers."""
    state = asyncio.run(_surveyed(replica))
    behind: dict[int, int] = {}
    lag: dict[int, float] = {}
    with replica.engine.connect() as connection:
        for shard in state.shards:
            cursor = ledger.last_covered(connection, shard.shard)
            behind[shard.shard] = shard.head_height - (cursor[0] if cursor else shard.origin_height - 1)
            lag[shard.shard] = max(0.0, shard.head_unix - cursor[1].timestamp()) if cursor else time.time()
    return FreshnessFinding(behind, lag)


async def _surveyed(replica: Replica) -> Survey:
    async with probe_pool(replica.hub_endpoints) as hubs:
        return await survey(replica, hubs)


def rows_of_heights(
    replica: Replica, table: DataTable, heights: Mapping[int, tuple[int, int]], *, limit: int
) -> pa.Table:
    """The first rows of the table that events of these heights (first and last, by shard) decided, live ones first."""
    columns = table.sql.c
    of_heights = [
        columns.version.between(first_event_id(first), first_event_id(last + 1) - 1) for first, last in heights.values()
    ]
    query = sa.select(table.sql).where(sa.or_(sa.false(), *of_heights))
    with replica.engine.connect() as connection:
        rows = connection.execute(query.order_by(columns.deleted_at.is_not(None), columns.version).limit(limit))
        return pa.Table.from_pylist([dict(row) for row in rows.mappings()])


def has_unique_key(replica: Replica, table: DataTable) -> bool:
    """Whether Postgres itself forbids null and duplicate keys of the table: its primary key is the declared one."""
    found = sa.inspect(replica.engine).get_pk_constraint(table.name, schema=table.schema)
    return set(found["constrained_columns"]) == set(table.key)


def null_or_duplicate_keys(replica: Replica, table: DataTable) -> int:
    """How many rows of the table have a null in their key or share it with another row; reads the whole table."""
    key = [table.sql.c[name] for name in table.key]
    is_null = sa.or_(*(column.is_(None) for column in key))
    rows_of_key = sa.select(sa.func.count().label("n")).select_from(table.sql).where(~is_null).group_by(*key)
    shared = rows_of_key.having(sa.func.count() > 1).subquery()
    nulls = sa.select(sa.func.count()).select_from(table.sql).where(is_null)
    with replica.engine.connect() as connection:
        doubled = connection.execute(sa.select(sa.func.coalesce(sa.func.sum(shared.c.n), 0))).scalar_one()
        return int(doubled) + connection.execute(nulls).scalar_one()
