"""Snapshots → tables: a snapshot's records apply wherever no later event has decided; corrections are recorded.

Its version is an event id: everything up to it is in the answers. So a row that a later event decided is left alone, a
row as the hub has it is not written at all, and any other becomes what the hub says, or a tombstone. Events that arrive
late, from before the snapshot or after it, then find their place by their own ids.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from fc_pipeline.errors import SessionLost
from fc_pipeline.fold import quarantine, statements
from fc_pipeline.fold.changes import Quarantined
from fc_pipeline.fold.profiles import EMPTY_PROFILE_FIDS, STAGE_PROFILE_FIDS, UPSERT_PROFILES
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.written import Written
from fc_pipeline.reconcile import compare_sql, correct_sql
from fc_pipeline.reconcile.judging import Judge
from fc_pipeline.reconcile.outcome import MAX_EXAMPLES, Difference, Reconciled, first_examples
from fc_pipeline.reconcile.records import snapshot_rows
from fc_pipeline.reconcile.staging import (
    FidSnapshot,
    Heads,
    head_lines,
    judged_lines,
    set_aside_lines,
    snapshot_lines,
)
from fc_pipeline.reconcile.targets import ReconciledTargets
from fc_pipeline.store import coverage, ledger
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import STANDSTILL_SECONDS, WriterSession
from fc_pipeline.tables.registry import MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import USER_PROFILES

__all__ = ["Reconciler"]

_MUST_NOT_STAND_STILL: Final = f"SET LOCAL idle_in_transaction_session_timeout TO '{STANDSTILL_SECONDS}s'"


@dataclass
class Reconciler:
    """Folds snapshots through one ADBC connection of its own. Not for several threads at once.

    `sleep` and `clock` (seconds) are for waiting until the ledger is where a snapshot is. With `targets`, snapshots of
    users who are no targets are left out, and the target set follows what is written. One that `is_read_only` can only
    compare: Postgres itself keeps it from writing.
    """

    libpq_url: str = field(repr=False)
    run_id: str
    targets: TargetAccess | None = None
    is_read_only: bool = False
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _set: ReconciledTargets | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._session = WriterSession(
            self.libpq_url,
            self.run_id,
            on_open=self._prepare,
            on_close=self._close_set,
            lost=self._lost,
            is_read_only=self.is_read_only,
        )

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
        for table in MESSAGE_TABLES.values():
            self._session.execute(statements.create_staging(table))
        for table in compare_sql.COMPARED:
            self._session.execute(compare_sql.create_changes(table))
        for statement in (*compare_sql.CREATE_STAGING, STAGE_PROFILE_FIDS, quarantine.CREATE_STAGING):
            self._session.execute(statement)
        if self.targets is not None:
            self._set = ReconciledTargets(self.targets, self._session)

    def _close_set(self) -> None:
        if self._set is not None:
            self._set.close()
            self._set = None

    def _lost(self) -> SessionLost:
        return SessionLost(
            f"the Postgres session of run {self.run_id} is gone: the server was restarted, or the connection cut",
            hint="the next run over the same users goes on from there",
        )

    def fold(
        self,
        snapshots: Sequence[FidSnapshot],
        records: Iterable[pa.RecordBatch],
        *,
        ids_before: Mapping[int, int] | None = None,
        ids_after: Mapping[int, int] | None = None,
        write: bool = True,
    ) -> Reconciled:
        """Fold whole snapshots in one transaction, or with `write` false only compare.

        `records` are the lines of exactly these FIDs, as the lake has them, in any number of batches; one is in memory
        at a time. `ids_before` and `ids_after` say of every shard what `version` and `until_id` say of an FID's own:
        an FID's names may come from any shard. Where they are not given, the snapshots' own have to do.

        While a run follows the feed, this waits for the ledger to reach the snapshots, so that events that happened
        while they were read do not count as drift.
        """
        if not snapshots:
            return Reconciled()
        heads = Heads.of(snapshots, ids_before or {}, ids_after or {})
        found = self._session.transaction(lambda: self._fold(snapshots, records, heads, write=write), commit=write)
        if write and self._set is not None:
            self._set.publish()
        return found

    def _fold(
        self, snapshots: Sequence[FidSnapshot], records: Iterable[pa.RecordBatch], heads: Heads, *, write: bool
    ) -> Reconciled:
        hold_schema(self._session.execute)
        self._session.copy("stage_snapshots", snapshot_lines(snapshots))
        messages, quarantined = self._stage(records)
        judge = Judge(self._session, self._set, self.sleep, self.clock)
        judged = judge.judge(snapshots, heads)
        self._session.copy("stage_judged", judged_lines({fid: one.tables for fid, one in judged.items()}))
        # Up to here this connection only reads; from here on no other run folds these shards.
        self._session.execute(_MUST_NOT_STAND_STILL)
        for shard in sorted({one.shard for one in snapshots}):
            self._session.execute(ledger.LOCK_SHARD, (shard,))
        others = self._set.hold(write=write) if self._set is not None else 0
        outdated = self._session.execute(compare_sql.DROP_OUTDATED)[0][0]
        tops = coverage.heights(self._session.query)
        self._session.copy("stage_heads", head_lines(heads, tops))
        for table in compare_sql.COMPARED:
            for statement in compare_sql.compare(table):
                self._session.execute(statement)
        drift, history, examples = self._summarize(write=write)
        written = self._write(drift, quarantined) if write else {}
        if self._set is not None and write:
            self._set.follow()
        return Reconciled(
            written=written,
            drift=drift,
            history=history,
            quarantined=sum(len(several) for several in quarantined.values()),
            messages=messages,
            fids=len(snapshots) - others,
            unjudged_fids=sum(not judged[one.fid].is_whole for one in snapshots) - others,
            outdated_fids=outdated,
            examples=examples,
            differing_fids=frozenset() if write else self._differing_fids(),
            judgements={} if write else judged,
        )

    def _stage(self, records: Iterable[pa.RecordBatch]) -> tuple[int, dict[int, list[Quarantined]]]:
        """COPY the rows into temporary tables, batch by batch; how many records, and what became no row, per shard."""
        messages = 0
        quarantined: dict[int, list[Quarantined]] = {}
        for batch in records:
            found = snapshot_rows(batch)
            messages += found.records
            for name, rows in found.rows.items():
                self._session.copy(statements.stage_name(MESSAGE_TABLES[name]), rows)
            self._session.copy("stage_set_aside", set_aside_lines(found.set_aside))
            for shard, several in found.quarantined.items():
                quarantined.setdefault(shard, []).extend(several)
        return messages, quarantined

    def _summarize(self, *, write: bool) -> tuple[dict[str, int], dict[str, int], tuple[Difference, ...]]:
        """Counts of drift and of history per table, and some examples."""
        drift: dict[str, int] = {}
        history: dict[str, int] = {}
        examples: list[Difference] = []
        for table in compare_sql.COMPARED:
            for _, is_drift, rows in self._session.execute(correct_sql.count(table)):
                counts = drift if is_drift else history
                counts[table.name] = counts.get(table.name, 0) + rows
            # History is written by the million rows, and examples of it are read only if nothing is written.
            if table.name in drift or (table.name in history and not write):
                found = self._session.execute(correct_sql.examples(table), (MAX_EXAMPLES,))
                examples += [Difference(table.name, *row) for row in found]
        return drift, history, first_examples(examples)

    def _differing_fids(self) -> frozenset[int]:
        rows = (
            row for table in compare_sql.COMPARED for row in self._session.execute(correct_sql.differing_fids(table))
        )
        return frozenset(row[0] for row in rows if row[0] is not None)

    def _write(self, drift: Mapping[str, int], quarantined: Mapping[int, list[Quarantined]]) -> dict[str, Written]:
        written: dict[str, Written] = {}
        for table in compare_sql.COMPARED:
            if drift.get(table.name):
                self._session.execute(correct_sql.record_drift(table), (self.run_id,))
            *before, write = correct_sql.correct(table)
            for statement in before:
                self._session.execute(statement)
            written[table.name] = Written(*self._session.execute(write)[0])
        self._session.execute(EMPTY_PROFILE_FIDS)
        self._session.execute(correct_sql.CHANGED_PROFILES)
        written[USER_PROFILES.name] += Written(*self._session.execute(UPSERT_PROFILES)[0])
        for shard, several in quarantined.items():
            self._session.copy("stage_quarantine", quarantine.staged(shard, several))
        if quarantined:
            self._session.execute(quarantine.MERGE_OF_SNAPSHOTS)
        self._session.execute(correct_sql.NOTE_FOLDED, (self.run_id,))
        return written
