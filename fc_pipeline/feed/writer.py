"""Writes micro-batches: lease, raw log, fold. One writer per run; it holds the run's data connections."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import TracebackType
from typing import Self

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from fc_pipeline.errors import LeaseLost
from fc_pipeline.feed.heartbeat import RENEW_SECONDS, LeaseHeartbeat
from fc_pipeline.feed.lanes import FoldLanes
from fc_pipeline.feed.progress import Progress
from fc_pipeline.fold.micro_batch import MicroBatch, joined, prepare
from fc_pipeline.fold.outcomes import Written
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.lake.event_log import events_table
from fc_pipeline.lake.recent_files import FileGroup, RecentFiles
from fc_pipeline.replica import Replica
from fc_pipeline.store import lease, named_fids, retry
from fc_pipeline.store.ledger import NewlyWritten
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.tables.fid_activity import FID_ACTIVITY

__all__ = ["LEASE_WAIT_SECONDS", "BatchWriter", "PreparedBatch", "StoredBatch"]

_log = logging.getLogger(__name__)

LEASE_WAIT_SECONDS = 45.0
LEASE_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """Blocks of one hour as Arrow: what the raw log stores (EVENT_LOG_SCHEMA), and what is folded."""

    hour: Hour
    events: pa.Table
    micro_batch: MicroBatch

    def is_followed_by(self, later: "PreparedBatch") -> bool:
        """Whether `later` may share a micro-batch with this: same hour, no hole between."""
        return self.hour == later.hour and self.micro_batch.to_height + 1 == later.micro_batch.from_height


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """Blocks of one hour that the raw log has, ready for their transaction."""

    hour: Hour
    micro_batch: MicroBatch
    log_bytes: int
    files_to_join: Sequence[FileGroup] = ()


class BatchWriter:
    """A run's writer: acquires leases as it reaches new hours, and releases them all at the end.

    `tables` names what is written; `only` limits it to some targets; `progress` counts it. `planned_end_unix` announces
    when the run plans to release its leases, `lease_wait_seconds` is how long it waits for them; while it is open, they
    are renewed every `renew_seconds`. With `joins_files`, stored batches are kept in memory, so that a file per second
    becomes one per minute without reading it back. `log_only`: blocks go into the raw log and the ledger, and into no
    table of rows or leaves. `hold`, `prepare` and `join_files` may be called from several
    threads, `fold_new` from one for each lane, the rest from one at a time.
    """

    def __init__(
        self,
        replica: Replica,
        run_id: str,
        tables: Collection[str],
        progress: Progress,
        *,
        planned_end_unix: float | None = None,
        lease_wait_seconds: float = LEASE_WAIT_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        joins_files: bool = False,
        log_only: bool = False,
        only: frozenset[int] | None = None,
    ) -> None:
        self._replica = replica
        self._tables = frozenset(tables)
        self._progress = progress
        self._planned_end_unix = planned_end_unix
        self._run_id = run_id
        self._holder = f"{run_id}/{uuid.uuid4().hex[:8]}"
        self._lease_wait_seconds = lease_wait_seconds
        self._held: set[tuple[int, Hour]] = set()
        self._taking = threading.Lock()
        self._joins_files = joins_files
        self._log_only = log_only
        self._recent_files = RecentFiles()
        targets = replica.targets if only is None else TargetAccess(replica.settings.redis_url, only)
        self._lanes = FoldLanes(replica.settings.libpq_url(), run_id, self._holder, targets)
        self._heartbeat = LeaseHeartbeat(replica.engine, self._holder, renew_seconds=renew_seconds)

    def __enter__(self) -> Self:
        self._lanes.__enter__()
        self._heartbeat.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._heartbeat.__exit__(kind, error, trace)
            self.release()
        except DBAPIError as failure:
            if error is None:
                raise
            # The earlier error is the one to report; without their session, the leases are free anyway.
            _log.warning("leases_not_given_back run=%s reason=%r", self._run_id, retry.explained(failure).message)
        finally:
            self._lanes.__exit__(kind, error, trace)

    def reopen(self) -> None:
        """Continue in new sessions after an old one was lost.

        Raises LeaseLost if another run has taken an hour over meanwhile.
        """
        self._lanes.reopen()
        regained = lease.reacquire(self._replica.engine, holder=self._holder, backend_pid=self._lanes.first.backend_pid)
        lost = sorted((shard, hour.key) for shard, hour in self._held if (shard, hour.key) not in regained)
        if lost:
            raise LeaseLost(
                f"run {self._run_id} no longer holds the lease on shard {lost[0][0]}, hour {lost[0][1]}",
                hint="another run has taken over while Postgres was away, and reads on from the ledger",
            )

    def release(self) -> None:
        """Release all leases: the remaining work needs none, and another run may be waiting for them."""
        lease.release(self._replica.engine, holder=self._holder)
        self._held.clear()

    def abandon(self) -> None:
        """Cancel what Postgres is doing for this run, from another thread: the transaction is rolled back."""
        backends = self._lanes.abandon()
        try:
            with self._replica.engine.connect() as connection:
                for pid in backends:
                    connection.execute(sa.select(sa.func.pg_cancel_backend(pid)))
        except DBAPIError as error:  # Postgres is doing nothing for this run then
            _log.warning("not_cancelled run=%s reason=%r", self._run_id, retry.explained(error).message)

    def hold(
        self,
        hour: Hour,
        shards: Collection[int],
        *,
        wait_seconds: float | None = None,
        unless: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Take the leases on these shards of an hour, waiting while another run writes it.

        Returns False, without a lease, if `unless` returns True while waiting. Raises LeaseLost, naming the holder, if
        one is not free after `wait_seconds` (default: the writer's). All runs acquire shards in the same order, and all
        of an hour together, to avoid deadlocks.
        """
        if all((shard, hour) in self._held for shard in shards):
            return True
        deadline = time.monotonic() + (self._lease_wait_seconds if wait_seconds is None else wait_seconds)
        with self._taking:
            return all(self._hold(shard, hour, deadline, unless) for shard in sorted(shards))

    def _hold(self, shard: int, hour: Hour, deadline: float, unless: Callable[[], bool]) -> bool:
        if (shard, hour) in self._held:
            return True
        while not lease.try_take(
            self._replica.engine,
            shard=shard,
            partition=hour.key,
            holder=self._holder,
            backend_pid=self._lanes.first.backend_pid,
            planned_end_unix=self._planned_end_unix,
        ):
            if unless():
                return False
            if time.monotonic() >= deadline:
                with self._replica.engine.connect() as connection:
                    holder = lease.holders(connection, partition=hour.key).get(shard)
                raise LeaseLost(
                    f"shard {shard}, hour {hour.key} is being written by run {holder.run_id if holder else 'unknown'}",
                    hint="wait until that run ends, or terminate it",
                )
            time.sleep(LEASE_POLL_SECONDS)
        self._held.add((shard, hour))
        return True

    def is_held_by_another(self, hour: Hour, shard: int) -> bool:
        """Whether another run that is alive may write a shard's hour."""
        with self._replica.engine.connect() as connection:
            return lease.is_held_by_another(connection, shard=shard, partition=hour.key, holder=self._holder)

    def store(self, hour: Hour, batch: EventBatch) -> None:
        """Store complete blocks of one hour in the raw log once more, without folding them."""
        self._replica.log.write(batch, hour)
        # They may have an event that the hub could not send before.
        with self._replica.engine.begin() as connection:
            hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
            named_fids.forget(connection, hour, batch.shard)

    def prepare(self, hour: Hour, batch: EventBatch) -> PreparedBatch:
        """Complete blocks of one hour as Arrow; nothing is written. May be called from several threads."""
        return PreparedBatch(hour, events_table(batch), self._prepared(hour, batch))

    def store_new(self, parts: Sequence[PreparedBatch]) -> StoredBatch:
        """Store consecutive blocks of one hour in the raw log, and join them into one micro-batch.

        Needs no lease and touches no table, so it may run in one thread while another folds the previous batch.
        """
        micro = joined([part.micro_batch for part in parts])
        events = pa.concat_tables([part.events for part in parts])
        hour = parts[0].hour
        file = self._replica.log.write_events(events, micro.shard, micro.from_height, micro.to_height, hour)
        due = self._recent_files.add(file, events) if self._joins_files else []
        return StoredBatch(hour, micro, file.size_bytes, due)

    def join_files(self, groups: Iterable[FileGroup]) -> None:
        """Replace the small files of each group by one. Raises LakeError."""
        for group in groups:
            file = group.join(self._replica.log)
            _log.info("joined_files count=%d file=%s", len(group.files), file.path)

    def join_rest(self) -> None:
        """Replace the remaining small files at the end."""
        self.join_files(self._recent_files.take_all())

    def lane_of(self, stored: StoredBatch) -> int:
        """In which lane to fold."""
        return self._lanes.lane_of(stored.micro_batch)

    def fold_new(self, stored: StoredBatch, lane: int = 0) -> None:
        """Fold blocks whose raw file is on disk; the lease must be held. Raises LeaseLost, AlreadyFolded."""
        self._fold(self._lanes.session(lane), stored.hour, stored.micro_batch, log_bytes=stored.log_bytes)

    def fold_stored(self, hour: Hour, batch: EventBatch) -> None:
        """Fold blocks that the raw log has and the ledger lacks; the lease must be held."""
        self._fold(self._lanes.first, hour, self._prepared(hour, batch), log_bytes=0)

    def refold(self, hour: Hour, batch: EventBatch, known_tables: Collection[str] = ()) -> NewlyWritten:
        """Fold blocks that the ledger covers once more, all but `fid_activity`.

        `known_tables` are those that they were written to before; returns the outcomes in the others.
        """
        micro = self._prepared(hour, batch, known_tables)
        started = time.monotonic()
        session = self._lanes.first
        written = session.refold(micro, known_tables)
        _log.info("refolded hour=%s shard=%d heights=%d-%d", hour.key, micro.shard, micro.from_height, micro.to_height)
        self._count(session, hour, micro, written, started, log_bytes=0)
        with_rows = min(micro.events_with_first_rows, session.outcomes.with_rows)
        return NewlyWritten(with_rows, min(session.events_written, with_rows))

    def replace_activity(
        self, hour: Hour, shards: Iterable[int], count: Callable[[], pa.Table], *, counts_more: bool = False
    ) -> None:
        """Set the hour's `fid_activity` to what `count` returns for all shards, called while none of them is folded.

        The hour's totals follow where it was not counted before, or where it `counts_more` events than it was. Every
        micro-batch waits until it has counted, so it should have little left to count by then.
        """
        counted: list[pa.Table] = []

        def counting() -> pa.Table:
            counted.append(count())
            return counted[-1]

        written = self._lanes.first.replace_activity(shards, counting, partition=hour.key, counts_more=counts_more)
        _log.info("activity_replaced hour=%s rows=%d", hour.key, written.rows)
        self._progress.add_table(hour, FID_ACTIVITY.name, written, counted[-1])

    def _fold(self, session: FoldSession, hour: Hour, micro: MicroBatch, *, log_bytes: int) -> None:
        started = time.monotonic()
        written = session.fold(micro)
        self._count(session, hour, micro, written, started, log_bytes=log_bytes)

    def _prepared(self, hour: Hour, batch: EventBatch, known_tables: Collection[str] = ()) -> MicroBatch:
        return prepare(
            batch,
            partition=hour.key,
            hour_unix=hour.start_unix,
            tables=self._tables,
            known_tables=known_tables,
            shard_count=self._shard_count,
            log_only=self._log_only,
        )

    @cached_property
    def _shard_count(self) -> int | None:
        return self._replica.shard_count()

    def _count(
        self,
        session: FoldSession,
        hour: Hour,
        micro: MicroBatch,
        written: dict[str, Written],
        started: float,
        *,
        log_bytes: int,
    ) -> None:
        seconds = time.monotonic() - started
        micro = replace(micro, outcomes=session.outcomes, rows_filtered=session.rows_filtered)
        self._progress.add(
            *(hour, micro, written, session.events_written),
            log_bytes=log_bytes,
            seconds=seconds,
            ledger_seconds=session.ledger_seconds,
        )
        _log.info(
            "micro_batch shard=%d heights=%d-%d events=%d events_written=%d rows=%d events_filtered=%d quarantined=%d "
            "postgres_ms=%d lag_seconds=%d",
            micro.shard,
            micro.from_height,
            micro.to_height,
            micro.events,
            session.events_written,
            sum(rows.rows for rows in written.values()),
            micro.outcomes.filtered,
            len(micro.quarantined),
            seconds * 1000,
            time.time() - self._progress.clock_ahead_seconds - micro.last_block_unix,
        )
