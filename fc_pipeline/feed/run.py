"""One run over a window of hours: what Dagster's asset, `sync` and tests call."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from fc_pipeline.errors import AlreadyFolded, LakeError
from fc_pipeline.feed.drain import Drain, HourWindow
from fc_pipeline.feed.outputs import RAW_LOG, with_leaves
from fc_pipeline.feed.progress import HourProgress, Progress
from fc_pipeline.feed.rebuild import rebuild_hour
from fc_pipeline.feed.stopping import Stopped, until_stopped
from fc_pipeline.feed.survey import Survey, survey
from fc_pipeline.feed.tuning import tune_process
from fc_pipeline.feed.writer import LEASE_WAIT_SECONDS, BatchWriter
from fc_pipeline.hours import Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.network_time import clock_warning
from fc_pipeline.reconcile.log_comparison import repair_hour
from fc_pipeline.replica import Replica
from fc_pipeline.store import bulk_load, gaps, hub_requests, ledger
from fc_pipeline.store.retry import POSTGRES_ERRORS, explained, with_retries

__all__ = ["RAW_LOG", "MicroBatchRun", "compact_finished_hours"]

log = logging.getLogger(__name__)

_ATTEMPTS = 5
FIRST_REPORT_SECONDS = 10.0
COMPACTED_DAYS = 7.0
"""How many past days the daily upkeep covers, for days when it did not run."""


@dataclass
class MicroBatchRun:
    """Reads what is missing of a window from the hub, and makes tables from the raw log.

    `outputs` are tables, and `hub_events` if the hub is to be read; without it, only the raw log is read. `rebuild`
    also folds what the ledger calls folded. With it or `verify_log`, and a hub to read, every file of the window's raw
    log is read, and damaged ones are replaced; else those that are gone or cut short are. `report` is called with the
    hours that have changed, every `report_seconds` (at first sooner) from a thread of its own, when an hour was made
    from the raw log, and at the end. `follow_seconds` and `overtime_seconds` are a Drain's. Once `should_stop` returns
    True, the run ends within seconds, after committing the micro-batch in flight. It waits up to `lease_wait_seconds`
    for an hour that another run writes.
    """

    replica: Replica
    run_id: str
    window: HourWindow
    outputs: Collection[str]
    follow_seconds: float = 0.0
    overtime_seconds: float = 0.0
    rebuild: bool = False
    verify_log: bool = False
    report: Callable[[list[HourProgress]], None] = lambda hours: None
    report_seconds: float = 10.0
    should_stop: Callable[[], bool] = lambda: False
    lease_wait_seconds: float = LEASE_WAIT_SECONDS
    progress: Progress = field(default_factory=Progress)
    _folded_before: set[Hour] = field(default_factory=set[Hour], init=False)

    def execute(self) -> Progress:
        """Run it; returns what was done, per hour. Raises FcPipelineError."""
        try:
            return self._execute()
        except POSTGRES_ERRORS as error:
            raise explained(error) from error

    def _execute(self) -> Progress:
        follow_until = time.monotonic() + self.follow_seconds if self.follow_seconds else None
        tune_process()
        is_loading = self._is_loading()
        try:
            with BatchWriter(
                self.replica,
                self.run_id,
                self.outputs,
                self.progress,
                planned_end_unix=time.time() + self.follow_seconds if self.follow_seconds else None,
                lease_wait_seconds=self.lease_wait_seconds,
                joins_files=bool(self.follow_seconds),
                log_only=is_loading,
            ) as writer:
                self._folded_before = self._folded_hours()
                with_retries(
                    f"run {self.run_id}",
                    lambda: self._work(writer, follow_until),
                    reopen=writer.reopen,
                    done=lambda: self.progress.events,
                    should_stop=self.should_stop,
                )
        except Stopped:
            log.info("stopped run=%s", self.run_id)
        finally:
            # What was committed before a failure stays, and no later run will come back to it.
            self.report(self.progress.changed())
            hub_requests.note(self.replica.engine)
        return self.progress

    def _is_loading(self) -> bool:
        """Whether tables are loaded in bulk: then this run writes the raw log alone. Raises LoadUnderWay."""
        if not bulk_load.is_under_way(self.replica.engine):
            return False
        if RAW_LOG not in self.outputs:
            with self.replica.engine.connect() as connection:
                bulk_load.refuse_under_way(lambda statement: connection.exec_driver_sql(statement).all())
        self.outputs = (RAW_LOG,)
        log.info("log_only run=%s reason='tables are being loaded in bulk'", self.run_id)
        return True

    def compact(self) -> int:
        """Compact the small files of the window's hours in the raw log; returns how many files fewer there are."""
        return _compact(self.replica, self._logged_hours())

    def _work(self, writer: BatchWriter, follow_until: float | None) -> None:
        if RAW_LOG in self.outputs:
            self._read_hub(writer, follow_until)
            writer.release()
            if not self.should_stop():
                writer.join_rest()
            self._close_filled_gaps()
        self._read_log(writer)

    def _read_hub(self, writer: BatchWriter, follow_until: float | None) -> None:
        for attempt in range(_ATTEMPTS):
            work = self._drain(writer, follow_until)
            try:
                asyncio.run(until_stopped(work, self.should_stop, writer.abandon))
            except BaseExceptionGroup as group:
                error = _first(group)
                # Another run worked on the same hours before: the ledger has what it folded.
                if not isinstance(error, AlreadyFolded) or attempt == _ATTEMPTS - 1:
                    raise error from group
            else:
                return

    def _close_filled_gaps(self) -> None:
        with self.replica.engine.connect() as connection:
            shards = list(ledger.origins(connection))
        for shard in shards:
            gaps.observe(self.replica.engine, shard, ())

    async def _drain(self, writer: BatchWriter, follow_until: float | None) -> None:
        async with HubPool(self.replica.hub_endpoints) as hubs:
            state = await survey(self.replica, hubs)
            self.progress.clock_ahead_seconds = state.clock_ahead_seconds
            if warning := clock_warning(state.clock_ahead_seconds):
                log.warning("clocks_apart run=%s: %s", self.run_id, warning)
            await self._refuse_hours_out_of_reach(state)
            drain = Drain(
                self.replica,
                hubs,
                writer,
                self.window,
                follow_until,
                self.overtime_seconds,
                self.should_stop,
                verify_log=self.rebuild or self.verify_log,
            )
            async with asyncio.TaskGroup() as tasks:
                reporting = tasks.create_task(self._report_regularly())
                await drain.run(state)
                reporting.cancel()

    async def _refuse_hours_out_of_reach(self, state: Survey) -> None:
        """Raise LakeError if the hub no longer has any of the hours, or not yet, and the raw log has none either."""
        spans = [(await state.clocks[shard.shard].oldest(), shard.head_unix) for shard in state.shards]
        reached = any(
            oldest_unix < self.window.last.end_unix and head_unix >= self.window.first.start_unix
            for (_, oldest_unix), head_unix in spans
        )
        if not reached and not any(self.replica.log.files(hour) for hour in self._logged_hours()):
            hubs = ", ".join(hub.name for hub in self.replica.hub_endpoints)
            raise LakeError(
                f"neither the hub ({hubs}) nor the raw log has anything of {self.window.span}",
                hint="a hub keeps about three days of events; older history comes from the by-FID snapshots",
            )

    async def _report_regularly(self) -> None:
        wait_seconds = min(FIRST_REPORT_SECONDS, self.report_seconds)
        while True:
            await asyncio.sleep(wait_seconds)
            wait_seconds = self.report_seconds
            hours = self.progress.changed()
            if hours:
                await asyncio.to_thread(self.report, hours)

    def _read_log(self, writer: BatchWriter) -> None:
        """Make the tables of hours that the ledger says were not, or all of them where a rebuild is wanted."""
        tables = set(self.outputs) - {RAW_LOG}
        found = False
        for hour in self._known_hours():
            if tables and self._rebuild_hour(writer, hour):
                found = True
            if self._is_to_be_reported(hour):
                self.progress.touch(hour)
            self.report(self.progress.changed())  # hour by hour, so that the progress of a range is visible
        if RAW_LOG not in self.outputs and not found:
            raise LakeError(
                f"the raw log has nothing of {self.window.span}",
                hint="materialise hub_events for these hours first, while the hub still has them",
            )

    def _is_to_be_reported(self, hour: Hour) -> bool:
        """Whether an hour of the window is reported although nothing may have been missing of it."""
        if RAW_LOG in self.outputs and self.window.first == self.window.last:
            return True
        with self.replica.engine.connect() as connection:
            return bool(ledger.covered_shards(connection, hour.key))

    def _rebuild_hour(self, writer: BatchWriter, hour: Hour) -> bool:
        """Hours that this run has just read completely need not be folded twice."""
        tables = set(self.outputs) - {RAW_LOG}
        only_missing = not self.rebuild or hour not in self._folded_before
        found = rebuild_hour(
            self.replica, writer, hour, tables, only_missing=only_missing, should_stop=self.should_stop
        )
        if not only_missing:
            # Versions alone would keep a damaged row with the right event id, and a row of an event that does not
            # exist.
            for name, rows in repair_hour(self.replica, hour, with_leaves(tables)).items():
                log.warning("rows_mended run=%s hour=%s table=%s rows=%d", self.run_id, hour.key, name, rows)
        return found

    def _folded_hours(self) -> set[Hour]:
        """The hours of the window of which the ledger covers something."""
        with self.replica.engine.connect() as connection:
            window = self.window.first.key, self.window.last.key
            return {Hour.from_key(key) for key in ledger.covered_partitions(connection, within=window)}

    def _known_hours(self) -> list[Hour]:
        """The window's hours that the raw log has or, by the ledger, should have."""
        return sorted({*self._logged_hours(), *self._folded_hours()})

    def _logged_hours(self) -> list[Hour]:
        if self.window.first == self.window.last:
            return [self.window.first]
        return [hour for hour in self.replica.log.hours() if hour in self.window]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group: a run's tasks end together, and it is the cause."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def compact_finished_hours(replica: Replica, *, days: float = COMPACTED_DAYS) -> int:
    """Compact the small files of past hours that were written to in the last days; returns how many fewer there are.

    The ledger knows these hours, so the store need not be listed completely.
    """
    present = Hour.of(time.time())
    with replica.engine.connect() as connection:
        written = {Hour.from_key(key) for key in ledger.partitions_written_since(connection, days * 86_400)}
    return _compact(replica, [hour for hour in written if hour < present])


def _compact(replica: Replica, hours: Collection[Hour]) -> int:
    with replica.engine.connect() as connection:
        folders = [(hour, shard) for hour in sorted(hours) for shard in ledger.covered_shards(connection, hour.key)]
    saved, failures = 0, list[LakeError]()
    for hour, shard in folders:
        try:
            saved += replica.log.compact(hour, shard)
        except LakeError as error:  # a damaged file stays as it is; the other folders are compacted
            failures.append(error)
    if failures:
        raise failures[0]
    return saved
