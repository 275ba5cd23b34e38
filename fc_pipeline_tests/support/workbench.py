"""A replica in a test: opened, fed by runs as the asset does it, and looked at."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fc_pipeline.config.settings import Settings
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.run import RAW_LOG, MicroBatchRun
from fc_pipeline.feed.survey import Survey, survey
from fc_pipeline.hours import Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.tables.channel_settings import SETTINGS
from fc_pipeline.tables.columns import Comparison
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database

OUTPUTS = (RAW_LOG, *DATA_TABLES)
"""What a run of all hourly assets writes."""
Heights = tuple[int, int, int]
"""Shard, first and last height."""
T = TypeVar("T")


async def missing_span(state: Survey) -> tuple[Hour, Hour] | None:
    """The first and the last hour with heights that are missing and can be had; None if nothing is."""
    spans = [(hour, hour) for hour in state.unfinished]
    for shard in state.shards:
        if shard.holes:
            clock = state.clocks[shard.shard]
            first, last = await clock.time_of(shard.holes[0].first), await clock.time_of(shard.holes[-1].last)
            spans.append((Hour.of(first), Hour.of(last)))
    return (min(first for first, _ in spans), max(last for _, last in spans)) if spans else None


@dataclass(frozen=True)
class Workbench:
    """The replica, and its tables as a test looks at them."""

    replica: Replica
    tables: FoldedDatabase

    def ask(self, question: Callable[[Survey], Awaitable[T]], outputs: Collection[str] = OUTPUTS) -> T:
        """The answer to a question about a survey, while the hub is open."""

        async def main() -> T:
            async with HubPool(self.replica.hub_endpoints) as hubs:
                return await question(await survey(self.replica, hubs, sorted(outputs)))

        return asyncio.run(main())

    def survey(self, outputs: Collection[str] = OUTPUTS) -> Survey:
        async def itself(state: Survey) -> Survey:
            return state

        return self.ask(itself, outputs)

    def missing_span(self) -> HourWindow:
        """The window of all that is missing; a test that asks for it expects that something is."""
        span = self.ask(lambda state: missing_span(state))
        assert span is not None
        return HourWindow(*span)

    def missing_hours(self, limit: int = 1000) -> list[Hour]:
        return self.ask(lambda state: state.missing_hours(limit))

    def make_run(
        self, run_id: str = "run", window: HourWindow | None = None, outputs: Collection[str] = OUTPUTS, **options: Any
    ) -> MicroBatchRun:
        """A run, by default over all that is missing."""
        return MicroBatchRun(self.replica, run_id, window or self.missing_span(), outputs, **options)

    def run(self, *args: Any, **options: Any) -> Progress:
        return self.make_run(*args, **options).execute()

    def rebuild(self, *tables: str, run_id: str = "rebuild", window: HourWindow | None = None) -> Progress:
        """Rebuild tables from the raw log, without a hub, over all its hours."""
        hours = self.replica.log.hours()
        window = window or HourWindow(hours[0], hours[-1])
        return self.run(run_id, window, tables or tuple(DATA_TABLES), rebuild=True)

    def dump(self, *tables: str) -> dict[str, list[str]]:
        return self.tables.dump(tables) if tables else self.tables.dump()

    def rows(self, query: str, **values: Any) -> list[Any]:
        return self.tables.rows(query, **values)

    def ledger(self) -> list[Heights]:
        """The covered heights as few ranges as they make."""
        merged: list[Heights] = []
        lines = self.rows("SELECT shard, from_height, to_height FROM pipeline.coverage ORDER BY 1, 2")
        for shard, first, last in lines:
            if merged and merged[-1][0] == shard and merged[-1][2] + 1 == first:
                merged[-1] = (shard, merged[-1][1], last)
            else:
                merged.append((shard, first, last))
        return merged

    def quarantine(self) -> list[tuple[int, int, str]]:
        return [tuple(r) for r in self.rows("SELECT shard, event_id, reason FROM pipeline.quarantine ORDER BY 1, 2, 3")]

    def logged(self) -> dict[int, list[bytes]]:
        """Per shard every event of the raw log, hours in order."""
        events: dict[int, list[bytes]] = {}
        for hour in self.replica.log.hours():
            for shard in sorted({file.shard for file in self.replica.log.files(hour)}):
                for batch in self.replica.log.read(self.replica.log.files(hour, shard)):
                    events.setdefault(shard, []).extend(batch.raws)
        return events


@contextmanager
def workbench(database: Database, lake: Path, *hub_urls: str, **settings: Any) -> Generator[Workbench]:
    """A replica in this database and lake."""
    given = Settings(data_dir=lake.parent, lake_uri=str(lake), postgres_url=database.url, hub_urls=hub_urls, **settings)
    with open_replica(given) as replica:
        yield Workbench(replica, FoldedDatabase(database.url, replica.engine))


NOT_TOLD = {"username_proofs": {"hash", "precedence"}, "channels": {column.name for column in SETTINGS}}
"""What the by-FID answers do not say: by which message a proof came, and how a channel is set up."""


def live(bench: Workbench) -> dict[str, set[str]]:
    """The live rows of all tables that say what is, without the columns that say how it came."""
    found: dict[str, set[str]] = {}
    for name, table in DATA_TABLES.items():
        left_out = {"version", "block_time", "network_time", "deleted_at", "deleted_reason", *NOT_TOLD.get(name, ())}
        columns = ", ".join(column for column in table.names if column not in left_out)
        if table.comparison is not Comparison.NONE:  # of what only the feed tells nothing is in snapshots
            query = f"SELECT ({columns})::text AS row FROM {name} WHERE deleted_at IS NULL"
            found[name] = {row.row for row in bench.rows(query)}
    return found
