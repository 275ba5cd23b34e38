"""Snapshots → tables: a snapshot's records apply wherever no later event has decided; corrections are recorded.

Its version is an event id: everything up to it is in the answers. So a row that a later event decided is left alone, a
row as the hub has it is not written at all, and any other becomes what the hub says, or a tombstone. Events that arrive
late, from before the snapshot or after it, then find their place by their own ids.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from fc_pipeline.fold import merging, quarantine
from fc_pipeline.fold.outcomes import Written
from fc_pipeline.fold.quarantine import Quarantined
from fc_pipeline.reconcile import compare_sql, correct_sql, derived_sql, listed_leaves
from fc_pipeline.reconcile.comparability import ComparabilityCheck
from fc_pipeline.reconcile.outcome import MAX_EXAMPLES, Difference, Reconciled, first_examples
from fc_pipeline.reconcile.records import snapshot_rows
from fc_pipeline.reconcile.session import ReconcilingSession
from fc_pipeline.reconcile.staging import (
    FidSnapshot,
    Heads,
    comparable_lines,
    fid_lines,
    head_lines,
    leaf_list_lines,
    names_asked_lines,
    rowless_lines,
    snapshot_lines,
)
from fc_pipeline.store import attribution, counts, covered_heights, derived, held_fids, touched_fids
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.store.writer_session import MAX_IDLE_TRANSACTION_SECONDS
from fc_pipeline.tables.columns import Comparison, DataTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DERIVED_TABLES, LISTED_TABLES
from fc_pipeline.tables.signers import KEYS

__all__ = ["Reconciler"]

_MUST_NOT_STAND_STILL: Final = f"SET LOCAL idle_in_transaction_session_timeout TO '{MAX_IDLE_TRANSACTION_SECONDS}s'"


@dataclass
class Reconciler(ReconcilingSession):
    """Folds snapshots.

    `sleep` and `clock` (seconds) are for waiting until the ledger is where a snapshot is. With `targets`, snapshots of
    users who are no targets are left out, and the target set follows what is written.
    """

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def _creating(self) -> Iterable[str]:
        yield from map(merging.create_staging, (*LISTED_TABLES.values(), OTHER_LEAVES))
        yield from map(compare_sql.create_changes, compare_sql.COMPARED)
        yield from map(derived.create_scope, DERIVED_TABLES)
        yield from (*compare_sql.CREATE_STAGING, *listed_leaves.CREATE_STAGING, quarantine.CREATE_STAGING)

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
        check = ComparabilityCheck(self._session, self._set, self.sleep, self.clock)
        comparability = check.evaluate(snapshots, heads)
        self._session.copy(
            "stage_comparable", comparable_lines({fid: one.tables for fid, one in comparability.items()})
        )
        # Up to here this connection only reads; from here on no other run folds anything of these users.
        self._session.execute(_MUST_NOT_STAND_STILL)
        fids = np.array([one.fid for one in snapshots], np.int64)
        held_fids.hold_for_snapshots(self._session.execute, self._written_shards(snapshots, heads), fids)
        others = self._set.hold(write=write) if self._set is not None else 0
        outdated = self._session.execute(compare_sql.DROP_OUTDATED)[0][0]
        tops = covered_heights.extents(self._session.query)
        self._session.copy("stage_heads", head_lines(heads, tops))
        for table in compare_sql.COMPARED:
            for statement in compare_sql.compare(table):
                self._session.execute(statement)
        for one in DERIVED_TABLES:
            self._session.execute(derived_sql.stage_untouched(one))
            self._session.execute(derived_sql.compare(one))
        drift, history, examples = self._summarize(write=write)
        written = self._write(drift, quarantined) if write else {}
        if self._set is not None and write:
            self._set.follow()
        # FID 0 is no user: only contract events are of it. Where there is a target set it is among the others.
        users = [one for one in snapshots if one.fid or self._set is not None]
        return Reconciled(
            written=written,
            drift=drift,
            history=history,
            quarantined=sum(len(several) for several in quarantined.values()),
            messages=messages,
            fids=len(snapshots) - others,
            uncovered_fids=sum(not comparability[one.fid].is_whole for one in users) - others,
            outdated_fids=outdated,
            examples=examples,
            differing_fids=frozenset() if write else self._differing_fids(),
            comparability={} if write else comparability,
        )

    def _written_shards(self, snapshots: Sequence[FidSnapshot], heads: Heads) -> set[int]:
        """Their own, and where leaves are listed that every shard may have, all."""
        shards = {one.shard for one in snapshots}
        return shards | set(heads.before) if self._session.execute(listed_leaves.HAS_LISTS)[0][0] else shards

    def _stage(self, records: Iterable[pa.RecordBatch]) -> tuple[int, dict[int, list[Quarantined]]]:
        """COPY the rows into temporary tables, batch by batch; how many records, and what became no row, per shard."""
        messages = 0
        quarantined: dict[int, list[Quarantined]] = {}
        for batch in records:
            found = snapshot_rows(batch)
            messages += found.records
            for name, rows in found.rows.items():
                self._session.copy(merging.stage_name(LISTED_TABLES[name]), rows)
            self._session.copy(merging.stage_name(OTHER_LEAVES), found.leaves)
            self._session.copy("stage_rowless", rowless_lines(found.rowless))
            self._session.copy("stage_names_asked", names_asked_lines(found.names_asked))
            self._session.copy("stage_keys_read", fid_lines(found.keys_read))
            self._session.copy(listed_leaves.LISTS_STAGING, leaf_list_lines(found.leaf_lists))
            self._session.copy(listed_leaves.ALL_KNOWN_STAGING, fid_lines(found.leaves_known))
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

    def _correct(self, table: DataTable) -> Written:
        *before, write = correct_sql.correct(table)
        for statement in before:
            self._session.execute(statement)
        return Written(*self._session.execute(write)[0])

    def _derive(self, one: DerivedTable) -> Written:
        self._session.execute(derived.empty_scope(one))
        if one.through_rows:  # what snapshots list makes no rows of it, but looks for them
            self._session.execute(derived.gate(one, shared=True))
        for statement in derived.before(one):
            self._session.execute(statement)
        self._session.execute(derived_sql.stage_changed(one))
        if one.shared_sources:
            self._session.execute(derived.lock(one))
        written = Written(*self._session.execute(derived.derive_exactly(one))[0])
        if written.rows:
            for statement in attribution.after(one):
                self._session.execute(statement)
        return written

    def _write(self, drift: Mapping[str, int], quarantined: Mapping[int, list[Quarantined]]) -> dict[str, Written]:
        for table in compare_sql.COMPARED:
            if drift.get(table.name):
                self._session.execute(correct_sql.record_drift(table), (self.run_id,))
        # Messages are attributed by the keys.
        written = {source: self._correct(LISTED_TABLES[source]) for source in KEYS.sources}
        written[KEYS.name] = self._derive(KEYS)
        for table in compare_sql.COMPARED:
            if table.comparison is not Comparison.DERIVED and table.name not in written:
                written[table.name] = self._correct(table)
        for one in DERIVED_TABLES:
            if one.name not in written:
                written[one.name] = self._derive(one)
        self._write_leaves()
        for shard, several in quarantined.items():
            self._session.copy("stage_quarantine", quarantine.staged(shard, several))
        if quarantined:
            self._session.execute(quarantine.MERGE_OF_SNAPSHOTS)
        self._correct_counts(written)
        self._session.execute(correct_sql.NOTE_FOLDED, (self.run_id,))
        return written

    def _write_leaves(self) -> None:
        if self._set is not None:
            self._session.execute(listed_leaves.DROP_NO_TARGETS)
        for statement in (*listed_leaves.WRITE, touched_fids.NOTE_SNAPSHOTS):
            self._session.execute(statement)

    def _correct_counts(self, written: dict[str, Written]) -> None:
        """Count the users anew of whom something was known before, and their casts: a first snapshot only adds."""
        if not self._session.execute(correct_sql.IS_ANY_KNOWN)[0][0]:
            return
        for statement in counts.ADD_CHANGES_SO_FAR:
            self._session.execute(statement)
        for table, keys in correct_sql.COUNTED_KEYS.items():
            correction, clearing = counts.correct(table, keys)
            written[table.name] = Written(updated=self._session.execute(correction)[0][0])
            self._session.execute(clearing)
