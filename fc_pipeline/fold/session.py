"""The one connection through which a run writes: COPY into staging, then the micro-batch's single transaction."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self, TypeVar

import adbc_driver_manager
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from fc_pipeline.errors import AlreadyFolded, LeaseLost, SessionLost
from fc_pipeline.fold import quarantine, statements
from fc_pipeline.fold.changes import Quarantined
from fc_pipeline.fold.fates import EventFates
from fc_pipeline.fold.micro_batch import MicroBatch, cover_parameters
from fc_pipeline.fold.profiles import STAGE_PROFILE_FIDS, UPSERT_PROFILES
from fc_pipeline.fold.replayed import MOVE_REPLAYED, replayed_parameters
from fc_pipeline.fold.selection import TargetAccess, TargetSelection, TargetsMoved
from fc_pipeline.store import gaps, hour_totals, ledger
from fc_pipeline.store.retry import Patience, through_faults
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_connection import WriterConnection
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = ["STANDSTILL_SECONDS", "FoldSession", "Written"]

T = TypeVar("T")

STANDSTILL_SECONDS = 30
"""A run that stands still inside a transaction, such as a paused one, loses its session and so the locks that others
wait for: sooner than its lease runs out."""

RENEW_AFTER_SECONDS = 5.0
"""A transaction that takes longer renews its lease once more before it commits."""


@dataclass(frozen=True, slots=True)
class Written:
    """Rows of one table that a transaction inserted, updated, or marked as deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def __add__(self, other: "Written") -> "Written":
        return Written(self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted)

    @property
    def rows(self) -> int:
        """All rows written."""
        return self.inserted + self.updated + self.deleted


@dataclass
class FoldSession:
    """A writer: one ADBC connection, its staging tables, and the id of the run that it writes for.

    Not for several threads at once. `holder` is what the run's leases are held under; None writes without a lease
    (tests, and rebuilding from the raw log, which the versions alone keep right). With `targets`, only what concerns
    the target set is written, and the set follows what is.

    Of the last fold, `fates` says what became of its events, `events_written` how many of them it wrote rows of (an
    event's rows may be in several tables, and it counts once), `rows_filtered` how many rows no target concerns,
    `ledger_seconds` how long it took by the ledger, which is written before the commit (0 for what it had already).

    A transaction that fails for a reason that may pass (store.retry) is rolled back and tried again for a while, until
    `give_up`. Raises PostgresError where that did not help, SessionLost where the session is gone: nothing of the
    transaction was written then, unless it was lost with the answer to its commit, which the ledger knows.
    """

    libpq_url: str = field(repr=False)
    run_id: str
    holder: str | None = None
    targets: TargetAccess | None = None
    backend_pid: int = field(default=0, init=False)
    fates: EventFates = field(default_factory=EventFates, init=False)
    events_written: int = field(default=0, init=False)
    rows_filtered: int = field(default=0, init=False)
    ledger_seconds: float = field(default=0.0, init=False)
    _planned: dict[str, str] = field(default_factory=dict[str, str], init=False, repr=False)
    _selection: TargetSelection | None = field(default=None, init=False, repr=False)
    _written_early: dict[str, Written] = field(default_factory=dict[str, Written], init=False, repr=False)
    _given_up: threading.Event = field(default_factory=threading.Event, init=False, repr=False)
    _versions: list[npt.NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)

    def __enter__(self) -> Self:
        through_faults(f"the session of run {self.run_id}", self._open)
        return self

    def reopen(self) -> None:
        """Begin a new session after this one was lost."""
        self._close()
        self._open()

    def _open(self) -> None:
        connection = WriterConnection.open(
            self.libpq_url,
            application_name=f"fc_pipeline {self.run_id}"[:63],
            idle_in_transaction_session_timeout=f"{STANDSTILL_SECONDS}s",
        )
        try:
            self._prepare(connection)
        except BaseException:
            self._close()
            raise

    def _prepare(self, connection: WriterConnection) -> None:
        self._connection = connection
        self._cursor = self._connection.cursor()
        # The driver would wrap what it reads in COPY, which takes no EXECUTE.
        self._cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        self._planned.clear()
        self._connection.begin()
        for table in (*MESSAGE_TABLES.values(), LINK_COMPACTIONS, FID_ACTIVITY):
            self._execute(statements.create_staging(table))
        self._execute(STAGE_PROFILE_FIDS)
        self._execute(quarantine.CREATE_STAGING)
        self.backend_pid = self._execute("SELECT pg_backend_pid()")[0][0]
        if self.targets is not None:
            self._selection = TargetSelection(self.targets, self._execute, self._stage_table, self._merge_early)
        self._connection.commit()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._selection is not None:
            self._selection.close()
            self._selection = None
        self._cursor.close()
        self._connection.close()

    def give_up(self) -> None:
        """Try nothing again from now on. May be called from another thread."""
        self._given_up.set()

    def fold(self, batch: MicroBatch) -> dict[str, Written]:
        """Write heights that the ledger does not cover yet: rows, ledger and quarantine in one transaction.

        Returns what was written per table. Writes nothing and raises LeaseLost if another run has taken over the
        hour, AlreadyFolded if the ledger covers one of the heights.
        """
        return self._transaction(lambda: self._fold_new(batch))

    def refold(self, batch: MicroBatch) -> dict[str, Written]:
        """Write heights that the ledger covers once more, as their versions allow: all tables but `fid_activity`."""
        return self._transaction(lambda: self._fold_again(replace(batch, activity=None)))

    def replay(self, batch: MicroBatch, resolved: Sequence[Quarantined]) -> dict[str, Written]:
        """Fold quarantined records as their versions allow, all but `fid_activity`, and note that they are resolved.

        Records of the feed are of one line of the ledger, whose totals they move in.
        """
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
        return self._transaction(lambda: self._replace_activity(shards, count, partition, add))

    def _transaction(self, write: Callable[[], T]) -> T:
        patience = Patience(f"a transaction of run {self.run_id}", given_up=self._given_up)
        while True:
            self._versions.clear()
            try:
                self._connection.begin()
                written = write()
                self._connection.commit()
            except TargetsMoved:
                self._roll_back(None)
            except adbc_driver_manager.Error as error:
                self._roll_back(error)
                patience.pause_after(error)
            except BaseException as error:
                self._roll_back(error)
                raise
            else:
                if self._selection is not None:
                    self._selection.publish()
                return written

    def _roll_back(self, cause: BaseException | None) -> None:
        try:
            self._connection.rollback()
        except adbc_driver_manager.Error:
            raise SessionLost(
                f"the Postgres session of run {self.run_id} is gone, and its leases with it: the server was restarted, "
                f"the connection was cut, or it ended because the run stood still in a transaction for "
                f"{STANDSTILL_SECONDS} s",
                hint="another run may have taken over; whichever comes next reads on from the ledger",
            ) from cause

    def _stage(self, batch: MicroBatch) -> None:
        """COPY everything into temporary tables."""
        self._execute(statements.KEYED_PLANS)
        for name, rows in batch.rows.items():
            self._copy(statements.stage_name(MESSAGE_TABLES[name]), rows)
        self._copy(statements.stage_name(LINK_COMPACTIONS), batch.compactions)
        if batch.activity is not None:
            self._copy(statements.stage_name(FID_ACTIVITY), batch.activity)
        if batch.profile_fids is not None:
            self._copy("stage_profile_fids", batch.profile_fids)
        self._copy("stage_quarantine", quarantine.staged(batch.shard, batch.quarantined))

    def _stage_table(self, table: DataTable, rows: pa.Table) -> None:
        self._copy(statements.stage_name(table), rows)

    def _selected(self, batch: MicroBatch) -> MicroBatch:
        """What concerns the target set, where only that is written; the shard must be held."""
        self._written_early = {}
        if self._selection is None:
            return batch
        return self._selection.select(batch)

    def _merge_early(self) -> None:
        """Merge what is staged of what may change the target set."""
        self._execute(statements.KEYED_PLANS)
        self._written_early = {
            ON_CHAIN_EVENTS.name: self._counted(statements.merge(ON_CHAIN_EVENTS)),
            LINKS.name: self._counted(statements.merge(LINKS)),
        }
        self._counted(statements.merge(LINK_COMPACTIONS))
        for mask in (statements.mask_by_new_compactions, statements.mask_staged_links):
            self._written_early[LINKS.name] += Written(deleted=self._execute(mask)[0][0])
        self._execute(statements.FREE_PLANS)

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
        written = self._merge_all(batch)
        self._execute(hour_totals.ADD_ROWS, hour_totals.row_parameters(batch.partition, batch.shard, written))
        total = sum(w.rows for w in written.values())
        if self.holder is not None and time.monotonic() - fenced_at > RENEW_AFTER_SECONDS:
            # Whoever waits for the lease sees this heartbeat at the commit, and not the one of a minute ago.
            self._execute(ledger.RENEW_LEASE, (batch.shard, batch.partition, self.holder))
        self.ledger_seconds = time.monotonic() - started
        line = cover_parameters(
            batch, self.run_id, total, events_written=self.events_written, seconds=self.ledger_seconds
        )
        try:
            self._execute(ledger.COVER, line)
        except adbc_driver_manager.Error as error:
            if error.sqlstate in ledger.OVERLAP_SQLSTATES:
                raise AlreadyFolded(
                    f"heights {batch.from_height}-{batch.to_height} of shard {batch.shard} were folded meanwhile"
                ) from error
            raise
        return written

    def _merge_again(self, batch: MicroBatch) -> tuple[MicroBatch, dict[str, Written]]:
        """Merge heights that the ledger covers; gives what was selected of the batch, too."""
        self.ledger_seconds = 0.0
        if self._selection is None:
            self._stage(batch)
            hold_schema(self._execute)
            self._execute(ledger.LOCK_SHARD, (batch.shard,))
        else:
            hold_schema(self._execute)
            self._execute(ledger.LOCK_SHARD, (batch.shard,))
            batch = self._selected(batch)
            self._stage(batch)
        return batch, self._merge_all(batch)

    def _fold_again(self, batch: MicroBatch) -> dict[str, Written]:
        batch, written = self._merge_again(batch)
        heights = (batch.from_height, batch.to_height)
        rows = hour_totals.row_parameters(batch.partition, batch.shard, written)
        self._execute(hour_totals.ADD_FIRST_ROWS, (*rows, *heights))
        return written

    def _replay(self, batch: MicroBatch, resolved: Sequence[Quarantined]) -> dict[str, Written]:
        started = time.monotonic()
        batch, written = self._merge_again(batch)
        self._execute("DELETE FROM stage_quarantine")
        self._copy("stage_quarantine", quarantine.staged(batch.shard, resolved))
        self._execute(quarantine.RESOLVE)
        self.ledger_seconds = time.monotonic() - started
        if batch.partition:  # records of snapshots are of no hour
            self._execute(hour_totals.ADD_ROWS, hour_totals.row_parameters(batch.partition, batch.shard, written))
            line = replayed_parameters(
                batch,
                self.fates,
                sum(w.rows for w in written.values()),
                events_written=self.events_written,
                seconds=self.ledger_seconds,
            )
            self._execute(MOVE_REPLAYED, line)
        return written

    def _replace_activity(
        self, shards: Iterable[int], count: Callable[[], pa.Table], partition: str | None, add_to_totals: str
    ) -> Written:
        hold_schema(self._execute)
        for shard in sorted(shards):
            self._execute(ledger.LOCK_SHARD, (shard,))
        self._execute("SET LOCAL idle_in_transaction_session_timeout TO 0")  # counting an hour takes its time
        counted = count()
        if self._selection is not None:
            members = self._selection.members_of(counted["fid"].to_numpy())
            counted = counted.filter(pc.is_in(counted["fid"], value_set=pa.array(members)))
        self._copy(statements.stage_name(FID_ACTIVITY), counted)
        written = self._counted(statements.replace_activity())
        if partition is not None:
            rows = hour_totals.row_parameters(partition, hour_totals.ALL_SHARDS, {FID_ACTIVITY.name: written})
            self._execute(add_to_totals, rows)
        return written

    def _fence(self, batch: MicroBatch) -> None:
        """Hold schema and shard until commit, and make sure that this run still holds the lease on the hour."""
        hold_schema(self._execute)
        self._execute(ledger.LOCK_SHARD, (batch.shard,))
        if self.holder is None:
            return
        held = self._execute(ledger.RENEW_LEASE, (batch.shard, batch.partition, self.holder))
        if not held:
            raise LeaseLost(
                f"run {self.run_id} no longer holds the lease on shard {batch.shard}, hour {batch.partition}",
                hint="another run has taken over and reads on from the ledger",
            )

    def _merge_all(self, batch: MicroBatch) -> dict[str, Written]:
        written = {name: self._counted(statements.merge(MESSAGE_TABLES[name])) for name in batch.rows}
        for name, early in self._written_early.items():
            written[name] = written.get(name, Written()) + early
        if "links" in batch.tables:
            written["links"] = written.get("links", Written()) + self._mask_links(batch)
        if batch.profile_fids is not None:
            written[USER_PROFILES.name] = self._counted(UPSERT_PROFILES) if len(batch.profile_fids) else Written()
        if batch.activity is not None:
            written[FID_ACTIVITY.name] = self._counted(statements.add_activity()) if len(batch.activity) else Written()
        if batch.quarantined:
            self._execute(quarantine.MERGE)
            self._execute(gaps.RECORD_POISON)
        self.fates, self.rows_filtered = batch.fates, batch.rows_filtered
        self.events_written = len(np.unique(np.concatenate(self._versions))) if self._versions else 0
        return written

    def _mask_links(self, batch: MicroBatch) -> Written:
        deleted = 0
        if len(batch.compactions):
            self._counted(statements.merge(LINK_COMPACTIONS))
            deleted += self._execute(statements.mask_by_new_compactions)[0][0]
        if "links" in batch.rows:
            deleted += self._execute(statements.mask_staged_links)[0][0]
        return Written(deleted=deleted)

    def _counted(self, statement: str) -> Written:
        """Execute a merge. Its plan, which costs as much as a small micro-batch's rows, is made once per connection."""
        if statement not in self._planned:
            name = f"fold_{len(self._planned)}"
            self._execute(f"PREPARE {name} AS {statement}")
            self._planned[statement] = name
        self._cursor.execute(f"EXECUTE {self._planned[statement]}")
        found = self._cursor.fetch_arrow_table()
        if "versions" in found.column_names:
            self._versions += [pc.list_flatten(chunk).to_numpy() for chunk in found["versions"].chunks]
        inserted, updated, deleted = (found[name][0].as_py() for name in ("inserted", "updated", "deleted"))
        return Written(inserted, updated, deleted)

    def _copy(self, staging: str, rows: pa.Table) -> None:
        if len(rows):
            self._cursor.adbc_ingest(staging, rows, mode="append", temporary=True)

    def _execute(self, statement: str, parameters: tuple[Any, ...] | None = None) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement, parameters)
        return list(self._cursor.fetchall()) if self._cursor.description else []
