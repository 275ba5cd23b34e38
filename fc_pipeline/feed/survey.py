"""What is missing: the hub's heads compared with the ledger, per shard, and the hours of the missing heights."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from fc_pipeline import heights
from fc_pipeline.errors import HubError, HubUntrusted
from fc_pipeline.feed.continuity import resume_from_ledger
from fc_pipeline.feed.first_data import place_partition_start
from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.hub.clock import HubClock, NoEvents
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.network_time import clock_difference
from fc_pipeline.hub.wire import HubInfo
from fc_pipeline.replica import Replica
from fc_pipeline.store import gaps, ledger
from fc_pipeline.store.ledger import ShardOrigin

__all__ = ["LIVE_WITHIN_SECONDS", "ShardSurvey", "Survey", "survey"]

LIVE_WITHIN_SECONDS = 600
"""A hub whose newest block is older than this is not being written to: there is nothing to follow."""


@dataclass(frozen=True, slots=True)
class ShardSurvey:
    """One shard: what the hub has and what the replica lacks.

    The hub retains `oldest_height`…`head_height`; the replica must have everything from `origin_height` on. `holes` are
    the heights that it lacks and the hub still has, `lost` those that the hub no longer has and that only snapshots can
    cover. Heights covered by snapshots are not lost.
    """

    shard: int
    origin_height: int
    oldest_height: int
    head_height: int
    head_unix: int
    holes: tuple[HeightRange, ...]
    lost: tuple[HeightRange, ...]


@dataclass(frozen=True)
class Survey:
    """All shards at one moment, with the clocks to go from heights to hours.

    `unfinished` are hours that the raw log has and some table lacks: no hub is needed for them. `clock_ahead_seconds`
    is by how much this machine's clock is ahead of the hub's (negative: behind), 0 unless that matters.
    """

    shards: tuple[ShardSurvey, ...]
    clocks: dict[int, HubClock]
    unfinished: tuple[Hour, ...] = ()
    clock_ahead_seconds: float = 0.0

    @property
    def present_hour(self) -> Hour | None:
        """The hour that is being written now, by the network's time; None if the hub stands still."""
        head_unix = max((shard.head_unix for shard in self.shards), default=0)
        return Hour.of(head_unix) if self.now_unix - head_unix < LIVE_WITHIN_SECONDS else None

    @property
    def now_unix(self) -> float:
        """The network's time now."""
        return time.time() - self.clock_ahead_seconds

    async def missing_hours(self, limit: int) -> list[Hour]:
        """The newest hours with missing heights that the hub still has, newest first, at most `limit`."""
        found = set(self.unfinished)
        for shard in self.shards:
            found.update(await self._missing_hours(shard, limit))
        return sorted(found, reverse=True)[:limit]

    async def missing_heights(self, hour: Hour) -> dict[int, list[HeightRange]]:
        """Per shard the missing heights of an hour that the hub still has."""
        found: dict[int, list[HeightRange]] = {}
        for shard in self.shards:
            clock = self.clocks[shard.shard]
            first = await clock.first_height_at(hour.start_unix)
            last = await clock.first_height_at(hour.end_unix) - 1
            found[shard.shard] = heights.overlap(shard.holes, [HeightRange(first, last)])
        return found

    async def _missing_hours(self, shard: ShardSurvey, limit: int) -> list[Hour]:
        clock = self.clocks[shard.shard]
        hours: list[Hour] = []
        for hole in reversed(shard.holes):
            last = hole.last
            while last >= hole.first and len(hours) < limit:
                hour = Hour.of(await clock.time_of(last))
                if not hours or hours[-1] != hour:
                    hours.append(hour)
                # Below the hour's first block; and below `last`, where that is a height without a block.
                last = await clock.last_height_up_to(min(last, await clock.first_height_at(hour.start_unix)) - 1) or 0
        return hours


async def survey(replica: Replica, hubs: HubPool, tables: Sequence[str] = ()) -> Survey:
    """Read the heads of all shards from the hub and compare them with the ledger.

    Hours with folded heights that were not written to all of `tables` are unfinished. At the first contact with a
    shard, records where its replica begins: at FC_START, or where the hub's feed does; and so where partitions begin.
    What the followed hub no longer has is read from another hub; what none has is recorded as a gap. For a read-only
    replica nothing is recorded. Raises HubUntrusted if no hub continues the history already read
    (`resume_from_ledger`).
    """
    with replica.engine.connect() as connection:
        unfinished = [Hour.from_key(key) for key in ledger.unfinished_partitions(connection, tables)]
    resume_from_ledger(replica, hubs)
    shards, clocks, info = await _survey_shards(replica, hubs)
    if any(shard.lost for shard in shards) and await _prefer_the_hub_with_more(hubs, shards):
        shards, clocks, info = await _survey_shards(replica, hubs)
    if not replica.is_read_only:
        for shard in shards:
            gaps.observe(replica.engine, shard.shard, shard.lost)
        place_partition_start(replica)
    ahead_seconds = clock_difference(info, {shard.shard: shard.head_unix for shard in shards})
    return Survey(shards, clocks, tuple(unfinished), ahead_seconds)


async def _survey_shards(
    replica: Replica, hubs: HubPool
) -> tuple[tuple[ShardSurvey, ...], dict[int, HubClock], HubInfo]:
    info = await hubs.info()
    shard_numbers = range(1, info.numShards + 1)
    clocks = {shard: HubClock(hubs, shard) for shard in shard_numbers}
    found = [await _survey_shard(replica, shard, clock, len(shard_numbers)) for shard, clock in clocks.items()]
    return tuple(shard for shard in found if shard is not None), clocks, info


async def _prefer_the_hub_with_more(hubs: HubPool, shards: Sequence[ShardSurvey]) -> bool:
    """Follow another usable hub if it still has some of what the followed one lost."""
    for hub in await hubs.others():
        for shard in shards:
            newest = shard.lost[-1] if shard.lost else None
            with suppress(HubError):
                there = await HubClock(hub, shard.shard).confirmed_from(newest.first) if newest else None
                if newest is not None and there is not None and there <= newest.last:
                    hubs.prefer(hub)
                    return True
    return False


async def _survey_shard(replica: Replica, shard: int, clock: HubClock, shard_count: int) -> ShardSurvey | None:
    """One shard's survey; None while it has no event at all."""
    try:
        oldest_height, _ = await clock.oldest()
        head_height, head_unix = await clock.head()
    except NoEvents:
        with replica.engine.connect() as connection:
            if ledger.last_covered(connection, shard) is None:
                return None
        raise HubUntrusted(
            f"the hub has lost its past: it has no event of shard {shard}, of which blocks were read",
            hint="wait until it has synced again, or name another hub in FC_HUB_URLS",
        ) from None
    origin = await _origin(replica, shard, clock, shard_count)
    with replica.engine.connect() as connection:
        missing = heights.holes(ledger.covered(connection, shard), origin, head_height)
        by_snapshots = gaps.by_snapshots(connection, shard)
    holes: list[HeightRange] = []
    lost = _below(missing, oldest_height)
    for hole in _above(missing, oldest_height):
        there = await clock.confirmed_from(hole.first) or hole.first
        holes += _above([hole], there)
        lost += _below([hole], there)
    lost = heights.without(lost, by_snapshots)
    return ShardSurvey(shard, origin, oldest_height, head_height, head_unix, tuple(holes), tuple(lost))


async def _origin(replica: Replica, shard: int, clock: HubClock, shard_count: int) -> int:
    """The first height that the ledger must cover; moves down if FC_START was set earlier since."""
    with replica.engine.connect() as connection:
        known = ledger.origins(connection).get(shard)
    start = replica.settings.start
    if known is not None and (start is None or start >= known.at):
        return known.height
    height = (await clock.oldest())[0] if start is None else await clock.first_height_at(int(start.timestamp()))
    at = datetime.fromtimestamp(await clock.time_of(height), UTC)
    with replica.engine.begin() as connection:
        # A database that was rebuilt from the raw log begins where the log does, maybe long before the hub.
        # Of when that was the ledger knows the hour: its end is not before it.
        folded = ledger.first_covered(connection, shard) if start is None else None
        if folded is not None and folded[0] < height:
            height, at = folded[0], Hour.from_key(folded[1]).next.start
        if replica.is_read_only:
            return height
        ledger.record_origin(connection, ShardOrigin(shard, height, at, shard_count))
        return ledger.origins(connection)[shard].height


def _above(ranges: Sequence[HeightRange], height: int) -> list[HeightRange]:
    return [HeightRange(max(r.first, height), r.last) for r in ranges if r.last >= height]


def _below(ranges: Sequence[HeightRange], height: int) -> list[HeightRange]:
    return [HeightRange(r.first, min(r.last, height - 1)) for r in ranges if r.first < height]
