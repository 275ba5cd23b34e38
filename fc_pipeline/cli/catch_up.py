"""The work of `fc-pipeline sync`: runs of the job `micro_batches` in this process, until nothing is missing."""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Final, Self

from dagster import DagsterInstance, ExecuteInProcessResult, RunConfig
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from fc_pipeline.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.definitions import defs
from fc_pipeline.errors import FcPipelineError, ServiceError
from fc_pipeline.fold import ledger
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.status import OUTPUTS, block_count
from fc_pipeline.ingest.survey import Survey, survey
from fc_pipeline.jobs import MICRO_BATCHES

__all__ = ["CaughtUp", "catch_up"]

LOOK_SECONDS: Final = 0.5
HOURS_PER_RUN: Final = 24
MOST_HOURS: Final = 24 * 31
"""So many hours are looked up at a time; a hub keeps about 72 of them."""


@dataclass(frozen=True)
class CaughtUp:
    """Blocks that were missing up to the heads that the hub had at the beginning, then and now."""

    missing_before: int
    missing: int


def catch_up(replica: Replica, dagster_home: Path, on_progress: Callable[[int, int], None]) -> CaughtUp:
    """Fold what is missing up to the hub's present heads, however the hub goes on meanwhile.

    Args:
        replica: what to fill.
        dagster_home: the folder with dagster.yaml: the runs are recorded there, for the UI to show.
        on_progress: called about twice a second, from another thread, with the blocks done and to do in all.

    Raises:
        FcPipelineError: no hub can be read, or a run failed and brought nothing.
    """
    target = _Target.now(replica)
    before = missing = target.missing_blocks()
    with (
        DagsterInstance.from_config(str(dagster_home)) as instance,
        _watching(lambda: on_progress(before - target.missing_blocks(), before)),
    ):
        while missing:
            failures = [_run(instance, first, last) for first, last in target.missing_spans()]
            now_missing = target.missing_blocks()
            if now_missing == missing:
                _raise_first(failures)
                break
            missing = now_missing
    return CaughtUp(before, missing)


@dataclass(frozen=True)
class _Target:
    """Per shard the first height and the head that the hub had when the work began."""

    replica: Replica
    heights: dict[int, tuple[int, int]]

    @classmethod
    def now(cls, replica: Replica) -> Self:
        async def look() -> Survey:
            async with HubPool(replica.hub_endpoints) as hubs:
                return await survey(replica, hubs, OUTPUTS)

        state = asyncio.run(look())
        return cls(replica, {shard.shard: (shard.origin_height, shard.head_height) for shard in state.shards})

    def missing_blocks(self) -> int:
        """How many of these heights are not in the ledger as written to every table."""
        with self.replica.engine.connect() as connection:
            return sum(
                block_count(ledger.holes(ledger.covered(connection, shard, tables=OUTPUTS), first, head))
                for shard, (first, head) in self.heights.items()
            )

    def missing_spans(self) -> list[tuple[Hour, Hour]]:
        """Adjacent hours with heights that are missing and can be had, as (first, last), newest first.

        Not one span over all: Dagster records every hour of a run's range for every table, in 15 ms each.
        """

        async def look() -> list[Hour]:
            async with HubPool(self.replica.hub_endpoints) as hubs:
                return await (await survey(self.replica, hubs, OUTPUTS)).missing_hours(MOST_HOURS)

        spans: list[tuple[Hour, Hour]] = []
        for hour in asyncio.run(look()):
            adjoins = bool(spans) and hour.next == spans[-1][0]
            if adjoins and _hours(spans[-1]) < HOURS_PER_RUN:
                spans[-1] = (hour, spans[-1][1])
            else:
                spans.append((hour, hour))
        return spans


def _hours(span: tuple[Hour, Hour]) -> int:
    return (span[1].start_unix - span[0].start_unix) // HOUR_SECONDS + 1


def _raise_first(failures: list[FcPipelineError | None]) -> None:
    """Raise the first failure, if there is one."""
    for failure in failures:
        if failure is not None:
            raise failure


def _run(instance: DagsterInstance, first: Hour, last: Hour) -> FcPipelineError | None:
    """One run of the job over the hours from `first` to `last`; what it failed with, or None."""
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    result = defs.resolve_job_def(MICRO_BATCHES.name).execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags={ASSET_PARTITION_RANGE_START_TAG: first.key, ASSET_PARTITION_RANGE_END_TAG: last.key},
        run_config=RunConfig(
            ops={hourly_tables.op.name: MicroBatchConfig(rebuild=False)},
            loggers={"console": {"config": {"log_level": "CRITICAL"}}},  # what it says is in the UI
        ),
    )
    return None if result.success else _failure(result)


def _failure(result: ExecuteInProcessResult) -> FcPipelineError:
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    error = errors[-1] if errors else None
    while error is not None and error.cause is not None:
        error = error.cause
    return ServiceError(
        f"run {result.run_id} failed: {error.message.strip() if error else 'it did not say why'}",
        hint="its whole log is in the Dagster UI (fc-pipeline up)",
    )


@contextmanager
def _watching(look: Callable[[], None]) -> Generator[None]:
    """Call `look` again and again while the block runs, and once at its end."""
    over = Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            look()

    thread = Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    look()
