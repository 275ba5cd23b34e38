"""The goal of catching up: every height up to the heads that the hub had when the work began."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import sqlalchemy as sa

from fc_pipeline.feed.outputs import OUTPUTS
from fc_pipeline.feed.survey import Survey, survey
from fc_pipeline.heights import HeightRange, height_count, holes, without
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.replica import Replica
from fc_pipeline.store import gaps, ledger

__all__ = ["Goal", "has_caught_up"]

HOURS_PER_SPAN: Final = 24
MAX_HOURS: Final = 24 * 31
"""Hours looked up at a time; a hub keeps about 72."""

T = TypeVar("T")


@dataclass(frozen=True)
class Goal:
    """Per shard the first height and the head that the hub had when the work began."""

    replica: Replica
    heights: dict[int, tuple[int, int]]

    @classmethod
    def now(cls, replica: Replica) -> Self:
        """Request from the hub its heads. Raises HubError."""

        async def heights(state: Survey) -> dict[int, tuple[int, int]]:
            return {shard.shard: (shard.origin_height, shard.head_height) for shard in state.shards}

        return cls(replica, _ask(replica, heights))

    def missing_blocks(self) -> int:
        """How many of these heights are neither written to every table, by the ledger, nor covered by snapshots."""
        with self.replica.engine.connect() as connection:
            return sum(
                height_count(_missing(connection, shard, first, head)) for shard, (first, head) in self.heights.items()
            )

    def blocks_by_snapshots(self) -> int:
        """How many heights the replica knows from snapshots alone."""
        with self.replica.engine.connect() as connection:
            return gaps.blocks_by_snapshots(connection)

    def missing_spans(self) -> list[tuple[Hour, Hour]]:
        """Adjacent hours with heights that are missing and can be had, as (first, last), newest first.

        Not one span over all: Dagster records every hour of a run's range for every table, in 15 ms each.
        """

        async def hours(state: Survey) -> list[Hour]:
            return await state.missing_hours(MAX_HOURS)

        spans: list[tuple[Hour, Hour]] = []
        for hour in _ask(self.replica, hours):
            adjoins = bool(spans) and hour.next == spans[-1][0]
            if adjoins and _hours(spans[-1]) < HOURS_PER_SPAN:
                spans[-1] = (hour, spans[-1][1])
            else:
                spans.append((hour, hour))
        return spans


def has_caught_up(replica: Replica) -> bool:
    """Whether nothing is missing that the hub has but of the present hour, which is followed. Raises HubError."""

    async def is_level(state: Survey) -> bool:
        return all(hour == state.present_hour for hour in await state.missing_hours(2))

    return _ask(replica, is_level)


def _missing(connection: sa.Connection, shard: int, first: int, last: int) -> list[HeightRange]:
    missing = holes(ledger.covered(connection, shard, tables=OUTPUTS), first, last)
    return without(missing, gaps.by_snapshots(connection, shard))


def _ask(replica: Replica, question: Callable[[Survey], Awaitable[T]]) -> T:
    """Run a query on a survey while the hub is open."""

    async def main() -> T:
        async with HubPool(replica.hub_endpoints) as hubs:
            return await question(await survey(replica, hubs, OUTPUTS))

    return asyncio.run(main())


def _hours(span: tuple[Hour, Hour]) -> int:
    return (span[1].start_unix - span[0].start_unix) // HOUR_SECONDS + 1
