"""A child process that catches up with a hub, or folds what is already in Arrow, and prints what it took as JSON."""

import asyncio
import json
import sys
import time

import pyarrow as pa

from fc_pipeline.config.settings import Settings
from fc_pipeline.feed.batch_size import MAX_BATCH_BYTES
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.run import RAW_LOG, MicroBatchRun
from fc_pipeline.feed.survey import survey
from fc_pipeline.fold.micro_batch import MicroBatch, prepare
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.feed import Feed
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.benchmarks.stage import peak_rss_bytes, rss_bytes
from fc_pipeline_tests.support.workbench import missing_span

OUTPUTS = (RAW_LOG, *DATA_TABLES)
CEILING_BATCH_EVENTS = int(MAX_BATCH_BYTES / 720)
"""The size of a micro-batch far behind the head, with the generated log's mean event."""


def catch_up(replica: Replica) -> dict[str, float]:
    """HTTP to commit, raw log written, all tables, in this one process."""
    window = asyncio.run(_missing(replica))
    idle = rss_bytes()
    started, cpu = time.perf_counter(), time.process_time()
    progress = MicroBatchRun(replica, "bench", window, OUTPUTS).execute()
    seconds = time.perf_counter() - started
    return {
        "events": progress.events,
        "seconds": seconds,
        "events_per_second": progress.events / seconds,
        "python_cpu_seconds": time.process_time() - cpu,
        "postgres_seconds": sum(hour.seconds for hour in progress.hours),
        "quarantined": sum(hour.outcomes.quarantined for hour in progress.hours),
        "rows_written": sum(hour.rows_written for hour in progress.hours),
        "naive_rows": sum(hour.naive_rows for hour in progress.hours),
        "memory_above_idle_mb": (peak_rss_bytes() - idle) / 1e6,
    }


async def _missing(replica: Replica) -> HourWindow:
    async with HubPool(replica.hub_endpoints) as hubs:
        span = await missing_span(await survey(replica, hubs))
        if span is None:
            raise RuntimeError("nothing is missing")
        return HourWindow(*span)


def ceiling(replica: Replica) -> dict[str, float]:
    """The same rows, already in Arrow, staged by COPY and merged into the same tables: what Postgres allows."""
    batches = asyncio.run(_prepared(replica))
    events = sum(batch.events for batch in batches)
    with FoldSession(replica.settings.libpq_url(), "bench") as session:
        started = time.perf_counter()
        for batch in batches:
            session.fold(batch)
        seconds = time.perf_counter() - started
    return {"events": events, "seconds": seconds, "events_per_second": events / seconds}


async def _prepared(replica: Replica) -> list[MicroBatch]:
    batches: list[MicroBatch] = []
    async with HubPool(replica.hub_endpoints) as hubs:
        shards = await hubs.shards()
        for shard in shards:
            async for page in Feed(hubs, shard).blocks(1, page_size=CEILING_BATCH_EVENTS):
                batches += [
                    prepare(
                        part, partition=hour.key, hour_unix=hour.start_unix, tables=OUTPUTS, shard_count=len(shards)
                    )
                    for hour, part in page.by_hour()
                ]
    pa.default_memory_pool().release_unused()
    return batches


if __name__ == "__main__":
    values = json.loads(sys.argv[2])
    settings = Settings.model_validate(values)
    with open_replica(settings) as opened:
        sys.stdout.write(json.dumps({"catch_up": catch_up, "ceiling": ceiling}[sys.argv[1]](opened)) + "\n")
