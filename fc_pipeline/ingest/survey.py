"""What is missing: the hub's heads held against the ledger, per shard, and the hours that hold the missing heights."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fc_pipeline.errors import HubUntrusted
from fc_pipeline.fold import ledger
from fc_pipeline.fold.ledger import HeightRange, ShardOrigin
from fc_pipeline.hours import Hour
from fc_pipeline.hub.clock import HubClock, NoEvents
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.tables.encoding import block_hash

__all__ = ["LIVE_WITHIN_SECONDS", "ShardSurvey", "Survey", "survey"]

LIVE_WITHIN_SECONDS = 600
"""A hub whose newest block is older than this is not being written to: there is nothing to follow."""


@dataclass(frozen=True, slots=True)
class ShardSurvey:
    """One shard: what the hub has and what the replica lacks.

    The hub retains `oldest_height`…`head_height`; the replica must have all from `origin_height` on. `holes` are what
    it lacks and the hub can still give, `lost` what the hub no longer has: the snapshots are left for that.
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

    `unfinished` are hours that the raw log has and some table lacks: no hub is needed for them.
    """

    shards: tuple[ShardSurvey, ...]
    clocks: dict[int, HubClock]
    unfinished: tuple[Hour, ...] = ()

    @property
    def present_hour(self) -> Hour | None:
        """The hour that is being written now; None if the hub stands still."""
        head_unix = max((shard.head_unix for shard in self.shards), default=0)
        return Hour.of(head_unix) if time.time() - head_unix < LIVE_WITHIN_SECONDS else None

    async def missing_hours(self, limit: int) -> list[Hour]:
        """The newest hours with heights that are missing and can be had, newest first, at most `limit`."""
        found = set(self.unfinished)
        for shard in self.shards:
            found.update(await self._missing_hours(shard, limit))
        return sorted(found, reverse=True)[:limit]

    async def missing_span(self) -> tuple[Hour, Hour] | None:
        """The first and the last hour with heights that are missing and can be had; None if nothing is."""
        spans = [(hour, hour) for hour in self.unfinished]
        spans += [
            (Hour.of(await clock.time_of(holes[0].first)), Hour.of(await clock.time_of(holes[-1].last)))
            for shard in self.shards
            if (holes := shard.holes) and (clock := self.clocks[shard.shard])
        ]
        return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None

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
    """Ask the hub for the heads of all shards and hold them against the ledger.

    Hours with folded heights that were not written to all of `tables` are unfinished. At the first contact with a
    shard, records where its replica begins: at FC_START, or where the hub's feed does.
    Raises HubUntrusted if no hub goes on from what was already read: all have another number of shards, lie behind it,
    or have another history.
    """
    with replica.engine.connect() as connection:
        cursors = {shard: ledger.last_covered(connection, shard) for shard in ledger.origins(connection)}
        unfinished = [Hour.from_key(key) for key in ledger.unfinished_partitions(connection, tables)]
    hubs.note_cursors({shard: cursor[0] for shard, cursor in cursors.items() if cursor is not None})
    shard_numbers = await hubs.shards()
    _refuse_other_shard_count(replica, len(shard_numbers))
    clocks = {shard: HubClock(hubs, shard) for shard in shard_numbers}
    found = [await _survey_shard(replica, shard, clock, len(shard_numbers)) for shard, clock in clocks.items()]
    shards = tuple(shard for shard in found if shard is not None)
    for shard in shards:
        await _refuse_other_history(replica, hubs, shard)
    return Survey(shards, clocks, tuple(unfinished))


async def _refuse_other_history(replica: Replica, hubs: HubPool, shard: ShardSurvey) -> None:
    """Raise HubUntrusted if the hub has another block where the ledger ends: nothing of it may be mixed in."""
    with replica.engine.connect() as connection:
        known = ledger.last_block_hash(connection, shard.shard, shard.head_height)
    if known is None or known[0] < shard.oldest_height:
        return
    height, expected = known
    _, events, _ = decode_events(await hubs.events(shard.shard, first_event_id(height), page_size=1))
    confirmed = events[0].blockConfirmedBody if events and events[0].height == height else None
    found = block_hash(confirmed) if confirmed else None
    if found is not None and found != expected:
        raise HubUntrusted(
            f"the hub has another history: block {height} of shard {shard.shard} is 0x{found.hex()} there, "
            f"and 0x{expected.hex()} was read",
            hint="it is of another network, or was reset; another network wants a database and a lake of its own",
        )


def _refuse_other_shard_count(replica: Replica, found: int) -> None:
    with replica.engine.connect() as connection:
        expected = {origin.shard_count for origin in ledger.origins(connection).values()}
    if expected and expected != {found}:
        raise HubUntrusted(
            f"the hub has {found} data shards, but the replica was begun with {expected.pop()}",
            hint="another network, or a resharding: point FC_HUB_URLS at a hub of the replica's network",
        )


async def _survey_shard(replica: Replica, shard: int, clock: HubClock, shard_count: int) -> ShardSurvey | None:
    """One shard's survey; None while it has no event at all."""
    try:
        oldest_height, _ = await clock.oldest()
        head_height, head_unix = await clock.head()
    except NoEvents:
        return None
    origin = await _origin(replica, shard, clock, shard_count)
    with replica.engine.connect() as connection:
        missing = ledger.holes(ledger.covered(connection, shard), origin, head_height)
    holes: list[HeightRange] = []
    lost = _below(missing, oldest_height)
    for hole in _above(missing, oldest_height):
        there = await clock.confirmed_from(hole.first) or hole.first
        holes += _above([hole], there)
        lost += _below([hole], there)
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
        folded = ledger.first_covered(connection, shard) if start is None else None
        if folded is not None and folded[0] < height:
            height, at = folded[0], Hour.from_key(folded[1]).start
        ledger.record_origin(connection, ShardOrigin(shard, height, at, shard_count))
        return ledger.origins(connection)[shard].height


def _above(ranges: Sequence[HeightRange], height: int) -> list[HeightRange]:
    return [HeightRange(max(r.first, height), r.last) for r in ranges if r.last >= height]


def _below(ranges: Sequence[HeightRange], height: int) -> list[HeightRange]:
    return [HeightRange(r.first, min(r.last, height - 1)) for r in ranges if r.first < height]
