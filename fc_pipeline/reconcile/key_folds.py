"""Gasless keys as a hub lists them, apart from a snapshot → their table, `signers`, and the apps of messages."""

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa

from fc_pipeline.fold import merging, quarantine
from fc_pipeline.reconcile import compare_sql, correct_sql
from fc_pipeline.reconcile.records import SnapshotRows, snapshot_rows
from fc_pipeline.reconcile.session import ReconcilingSession
from fc_pipeline.reconcile.staging import FidSnapshot, fid_lines, rowless_lines, snapshot_lines
from fc_pipeline.store import attribution, derived, held_fids
from fc_pipeline.store.schema import hold_schema
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS
from fc_pipeline.tables.signers import KEYS

__all__ = ["KeyFold"]


class KeyFold(ReconcilingSession):
    """Folds readings of keys; with `targets`, those of users who are no targets are left out."""

    def _creating(self) -> Iterable[str]:
        yield merging.create_staging(GASLESS_KEYS)
        yield compare_sql.create_changes(GASLESS_KEYS)
        yield derived.create_scope(KEYS)
        yield from (*compare_sql.CREATE_STAGING, quarantine.CREATE_STAGING)

    def fold(self, readings: Sequence[FidSnapshot], records: pa.RecordBatch) -> int:
        """Fold the keys of these users in one transaction; how many rows of gasless_keys were written.

        `records` are lines as a snapshot's in the lake, of kinds that keys have. A row that a newer answer decided
        stays. Raises PostgresError, SessionLost.
        """
        if not readings:
            return 0
        found = snapshot_rows(records)
        return self._session.retried_transaction(lambda: self._fold(readings, found))

    def _fold(self, readings: Sequence[FidSnapshot], found: SnapshotRows) -> int:
        hold_schema(self._session.execute)
        self._session.copy("stage_snapshots", snapshot_lines(readings))
        for rows in found.rows.values():
            self._session.copy(merging.stage_name(GASLESS_KEYS), rows)
        self._session.copy("stage_rowless", rowless_lines(found.rowless))
        self._session.copy("stage_keys_read", fid_lines(found.keys_read))
        fids = np.array([one.fid for one in readings], np.int64)
        held_fids.hold_for_snapshots(self._session.execute, {one.shard for one in readings}, fids)
        if self._set is not None:
            self._set.hold(write=False)
        for statement in compare_sql.compare(GASLESS_KEYS):
            self._session.execute(statement)
        (correct,) = correct_sql.correct(GASLESS_KEYS)
        written = sum(self._session.execute(correct)[0])
        changes = (GASLESS_KEYS.name, compare_sql.change_name(GASLESS_KEYS))
        self._session.execute(derived.stage_touched(KEYS, [changes]))
        if sum(self._session.execute(derived.derive(KEYS))[0]):
            for statement in attribution.after(KEYS):
                self._session.execute(statement)
        for shard, several in found.quarantined.items():
            self._session.copy("stage_quarantine", quarantine.staged(shard, several))
        if found.quarantined:
            self._session.execute(quarantine.MERGE_OF_SNAPSHOTS)
        return written
