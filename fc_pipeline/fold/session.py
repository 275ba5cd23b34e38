"""A connection through which a run writes: COPY into staging, then the micro-batch's single transaction."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, TypeVar

import adbc_driver_manager
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.errors import AlreadyFolded, LeaseLost, SessionLost
from fc_pipeline.fold import merging, quarantine, staging
from fc_pipeline.fold.merging import Merges
from fc_pipeline.fold.micro_batch import MicroBatch, cover_parameters
from fc_pipeline.fold.outcomes import EventOutcomes, Written
from fc_pipeline.fold.quarantine import Quarantined
from fc_pipeline.fold.replayed import MOVE_REPLAYED, replayed_parameters
from fc_pipeline.fold.selection import TargetAccess, TargetSelection, TargetsMoved
from fc_pipeline.store import gaps, held_fids, hour_events, hour_totals, ledger, touched_fids
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import MAX_IDLE_TRANSACTION_SECONDS, WriterSession
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import MESSAGE_TABLES

__all__ = ["FoldSession"]

T = TypeVar("T")

RENEW_AFTER_SECONDS = 5.0
"""A transaction that takes longer renews its lease once more before it commits."""

_BACKEND_PID: Final = "SELECT pg_backend_pid()"
_MAY_STAND_STILL: Final = "SET LOCAL idle_in_transaction_session_timeout TO 0"
"""Until commit: counting an hour takes its time."""


@dataclass
class FoldSession:
    """A writer: one ADBC connection, its staging tables, and the id of the run that it writes for.

    Not for several threads at once. `holder` is what the run's leases are held under; None writes without a lease
    (tests, and rebuilding from the raw log, which the versions alone keep right). With `targets`, only what concerns
    the target set is written, and the set follows what is.

    Of the last fold, `outcomes` says what became of its events, `events_written` how many of them it wrote rows of (an
    event's rows may be in several tables, and it counts once), `rows_filtered` how many rows no target concerns,
    `ledger_seconds` how long it took by the ledger, which is written before the commit (0 for what it had already).

    A transaction that fails for a reason that may pass (store.retry) is rolled back and tried again for a while, until
    `abandon`. Raises PostgresError where that did not help, SessionLost where the session is gone: nothing of the
    transaction was written then, unless it was lost with the answer to its commit, which the ledger knows.
    """

    libpq_url: str = field(repr=False)
    run_id: str
    holder: str | None = None
    targets: TargetAccess | None = None
    backend_pid: int = field(default=0, init=False)
    outcomes: EventOutcomes = field(default_factory=EventOutcomes, init=False)
    events_written: int = field(default=0, init=False)
    rows_filtered: int = field(default=0, init=False)
    ledger_seconds: float = field(default=0.0, init=False)
    _selection: TargetSelection | None = field(default=None, init=False, repr=False)
    _staging: set[str] = field(default_factory=set[str], init=False, repr=False)

    def __post_init__(self) -> None:
        self._session = WriterSession(
            self.libpq_url,
            self.run_id,
            on_open=self._prepare,
            on_close=self._close_selection,
            lost=self._lost,
            settings={"idle_in_transaction_session_timeout": f"{MAX_IDLE_TRANSACTION_SECONDS}s"},
            reads_by_copy=False,
        )
        self._merges = Merges(self._session)

    def __enter__(self) -> Self:
        self._session.open_through_faults()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def reopen(self) -> None:
        """Begin a new session after this one was lost."""
        self._session.reopen()

    def _prepare(self) -> None:
        self._merges.forget_plans()
        self._staging.clear()
        self._session.execute(quarantine.CREATE_STAGING)
        self.backend_pid = self._session.execute(_BACKEND_PID)[0][0]
        if self.targets is not None:
            self._selection = TargetSelection(self.targets, self._session, self._stage_table, self._merges.merge_early)

    def _close_selection(self) -> None:
        if self._selection is not None:
            self._selection.close()
            self._selection = None

    def _lost(self) -> SessionLost:
        return SessionLost(
            f"the Postgres session of run {self.run_id} is gone, and its leases with it: the server was restarted, "
            f"the connection was cut, or it ended because the run stood still in a transaction for "
            f"{MAX_IDLE_TRANSACTION_SECONDS} s",
            hint="another run may have taken over; whichever comes next reads on from the ledger",
        )

    def abandon(self) -> None:
        """Try nothing again from now on. May be called from another thread."""
        self._session.abandon()

    def fold(self, batch: MicroBatch) -> dict[str, Written]:
        """Write heights that the ledger does not cover yet: rows, ledger and quarantine in one transaction.

        Returns what was written per table. Writes nothing and raises LeaseLost if another run has taken over the
        hour, AlreadyFolded if the ledger covers one of the heights.
        """
        self._make_staging(staging.staged_by(batch))
        return self._transaction(lambda: self._fold_new(batch))

    def refold(self, batch: MicroBatch, known_tables: Collection[str] = ()) -> dict[str, Written]:
        """Write heights that the ledger covers once more, as their versions allow: all tables but `fid_activity`.

        Of the `known_tables`, which these heights were written to before, those that follow from one of the batch's
        are derived again.
        """
        self._make_staging(staging.staged_by(batch))
        return self._transaction(lambda: self._fold_again(replace(batch, activity=None), known_tables))

    def replay(self, batch: MicroBatch, resolved: Sequence[Quarantined]) -> dict[str, Written]:
        """Fold quarantined records as their versions allow, all but `fid_activity`, and note that they are resolved.

        Records of the feed are of one line of the ledger, whose totals they move in.
        """
        self._make_staging(staging.staged_by(batch))
        return self._transaction(lambda: self._replay(replace(batch, activity=None), resolved))

    def replace_activity(
        self,
        shards: Iterable[int],
        count: Callable[[], pa.Table],
        *,
        partition: str | None = None,
        counts_more: bool = False,
    ) -> Written:
        """Set the counts of `fid_activity` for whole hours, over all shards; those of `partition` add to its totals.

        They do so where the hour was not counted before, or where it `counts_more` events than it was.

        `count` gives them (Arrow schema of `fid_activity`) from what the ledger covers. It is called while no other
        transaction can fold these shards, so nothing is missed or counted twice.
        """
        add = hour_totals.ADD_ROWS if counts_more else hour_totals.ADD_ACTIVITY_ROWS
        self._make_staging({FID_ACTIVITY.name})
        return self._transaction(lambda: self._replace_activity(shards, count, partition, add))

    def _transaction(self, write: Callable[[], T]) -> T:
        def attempt() -> T:
            self._merges.begin()
            return write()

        written = self._session.retried_transaction(attempt, restart_on=TargetsMoved)
        if self._selection is not None:
            self._selection.publish()
        return written

    def _make_staging(self, tables: Collection[str]) -> None:
        """Make the temporary tables that are needed and that the session lacks, once.

        Every commit empties all that there are, which takes longer than a small micro-batch's rows.
        """
        if self._selection is not None:  # it may stage rows of any table
            tables = staging.ANY
        missing = [statement for statement in staging.creating(tables) if statement not in self._staging]

        def make() -> None:
            for statement in missing:
                self._session.execute(statement)

        if missing:
            self._session.retried_transaction(make)
            self._staging.update(missing)

    def _stage(self, batch: MicroBatch) -> None:
        """COPY everything into temporary tables."""
        self._session.execute(merging.KEYED_PLANS)
        for name, rows in (*batch.rows.items(), *batch.sources.items()):
            self._session.copy(merging.stage_name(MESSAGE_TABLES[name]), rows)
        self._session.copy(merging.stage_name(LINK_COMPACTIONS), batch.compactions)
        self._session.copy(merging.stage_name(OTHER_LEAVES), batch.leaves)
        if batch.activity is not None:
            self._session.copy(merging.stage_name(FID_ACTIVITY), batch.activity)
        self._session.copy("stage_quarantine", quarantine.staged(batch.shard, batch.quarantined))

    def _stage_table(self, table: DataTable, rows: pa.Table) -> None:
        self._session.copy(merging.stage_name(table), rows)

    def _selected(self, batch: MicroBatch) -> MicroBatch:
        """What concerns the target set, where only that is written; the shard must be held."""
        if self._selection is None:
            return batch
        return self._selection.select(batch)

    def _fold_new(self, batch: MicroBatch) -> dict[str, Written]:
        started = time.monotonic()
        if self._selection is None:
            # Nothing of it is visible to others, and no lock is taken yet.
            self._stage(batch)
            self._fence(batch)
        else:
            self._fence(batch)
            batch = self._selected(batch)
            self._stage(batch)
        fenced_at = time.monotonic()
        written = self._merge_all(batch, first_time=True)
        self._session.execute(hour_totals.ADD_ROWS, hour_totals.row_parameters(batch.partition, batch.shard, written))
        counts = hour_events.parameters(batch.partition, batch.shard, batch.events_by_type)
        self._session.execute(hour_events.ADD_EVENTS, counts)
        total = sum(w.rows for w in written.values())
        if self.holder is not None and time.monotonic() - fenced_at > RENEW_AFTER_SECONDS:
            # Whoever waits for the lease sees this heartbeat at the commit, and not the one of a minute ago.
            self._session.execute(ledger.RENEW_LEASE, (batch.shard, batch.partition, self.holder))
        self.ledger_seconds = time.monotonic() - started
        line = cover_parameters(
            batch, self.run_id, total, events_written=self.events_written, seconds=self.ledger_seconds
        )
        try:
            self._session.execute(ledger.COVER, line)
        except adbc_driver_manager.Error as error:
            if error.sqlstate in ledger.OVERLAP_SQLSTATES:
                raise AlreadyFolded(
                    f"heights {batch.from_height}-{batch.to_height} of shard {batch.shard} were folded meanwhile"
                ) from error
            raise
        return written

    def _merge_again(
        self, batch: MicroBatch, known_tables: Collection[str] = ()
    ) -> tuple[MicroBatch, dict[str, Written]]:
        """Merge heights that the ledger covers; gives what was selected of the batch, too."""
        self.ledger_seconds = 0.0
        if self._selection is None:
            self._stage(batch)
            self._hold_users(batch)
        else:
            self._hold_users(batch)
            batch = self._selected(batch)
            self._stage(batch)
        return batch, self._merge_all(batch, known_tables)

    def _fold_again(self, batch: MicroBatch, known_tables: Collection[str]) -> dict[str, Written]:
        batch, written = self._merge_again(batch, known_tables)
        heights = (batch.from_height, batch.to_height)
        rows = hour_totals.row_parameters(batch.partition, batch.shard, written)
        self._session.execute(hour_totals.ADD_FIRST_ROWS, (*rows, *heights))
        return written

    def _replay(self, batch: MicroBatch, resolved: Sequence[Quarantined]) -> dict[str, Written]:
        started = time.monotonic()
        batch, written = self._merge_again(batch)
        self._session.execute(quarantine.EMPTY_STAGING)
        self._session.copy("stage_quarantine", quarantine.staged(batch.shard, resolved))
        self._session.execute(quarantine.RESOLVE)
        self.ledger_seconds = time.monotonic() - started
        if batch.partition:  # records of snapshots are of no hour
            self._session.execute(
                hour_totals.ADD_ROWS, hour_totals.row_parameters(batch.partition, batch.shard, written)
            )
            line = replayed_parameters(
                batch,
                self.outcomes,
                sum(w.rows for w in written.values()),
                events_written=self.events_written,
                seconds=self.ledger_seconds,
            )
            self._session.execute(MOVE_REPLAYED, line)
        return written

    def _replace_activity(
        self, shards: Iterable[int], count: Callable[[], pa.Table], partition: str | None, add_to_totals: str
    ) -> Written:
        self._hold(*sorted(shards))
        self._session.execute(_MAY_STAND_STILL)
        counted = count()
        if self._selection is not None:
            members = self._selection.members_of(counted["fid"].to_numpy())
            counted = counted.filter(pc.is_in(counted["fid"], value_set=pa.array(members)))
        self._session.copy(merging.stage_name(FID_ACTIVITY), counted)
        written = self._merges.counted(merging.replace_activity())
        if partition is not None:
            rows = hour_totals.row_parameters(partition, hour_totals.ALL_SHARDS, {FID_ACTIVITY.name: written})
            self._session.execute(add_to_totals, rows)
        return written

    def _hold(self, *shards: int) -> None:
        """Hold schema and shards until commit."""
        hold_schema(self._session.execute)
        for shard in shards:
            self._session.execute(held_fids.LOCK_SHARD, (shard,))

    def _hold_users(self, batch: MicroBatch) -> None:
        """Hold the schema, and the users whose rows are written, until commit."""
        hold_schema(self._session.execute, while_loading=batch.is_log_only)
        held_fids.hold_for_events(self._session.execute, batch.shard, batch.fids)

    def _fence(self, batch: MicroBatch) -> None:
        """Hold schema and users until commit, and make sure that this run still holds the lease on the hour."""
        self._hold_users(batch)
        if self.holder is None:
            return
        held = self._session.execute(ledger.RENEW_LEASE, (batch.shard, batch.partition, self.holder))
        if not held:
            raise LeaseLost(
                f"run {self.run_id} no longer holds the lease on shard {batch.shard}, hour {batch.partition}",
                hint="another run has taken over and reads on from the ledger",
            )

    def _merge_all(
        self, batch: MicroBatch, known_tables: Collection[str] = (), *, first_time: bool = False
    ) -> dict[str, Written]:
        written = self._merges.merge(batch, known_tables, first_time=first_time)
        if self._merges.leaves_written or any(one.rows for one in written.values()):
            for statement, parameters in touched_fids.noting(batch.shard, batch.touched_fids.tolist()):
                self._session.execute(statement, parameters)
        if batch.quarantined:
            self._session.execute(quarantine.MERGE)
            self._session.execute(gaps.RECORD_POISON)
        self.outcomes, self.rows_filtered = batch.outcomes, batch.rows_filtered
        self.events_written = self._merges.events_written
        return written
