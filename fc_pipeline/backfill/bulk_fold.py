"""Fills empty tables from the snapshots that the lake has of all users: no hub is asked, and nothing compared."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from fc_pipeline.backfill.snapshot_part import SnapshotLoader, SnapshotTask
from fc_pipeline.bulk_load import emptying
from fc_pipeline.bulk_load.stages import CONTRACTS_STAGE, MESSAGES_STAGE, SNAPSHOTS_IN_LAKE, LoadStages, filling_steps
from fc_pipeline.bulk_load.workers import LoadWorkers
from fc_pipeline.errors import ConfigError, LakeError
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.replica import Replica
from fc_pipeline.store import bulk_load
from fc_pipeline.store.advisory_locks import MIGRATION
from fc_pipeline.store.bookkeeping import SNAPSHOTS
from fc_pipeline.store.bulk_load import LoadPart

__all__ = ["BulkFold"]

log = logging.getLogger(__name__)


@dataclass
class BulkFold:
    """Loads with so many `workers`; the log tells of stages and, at DEBUG, of parts."""

    replica: Replica
    run_id: str
    workers: int = 2
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self._stages = LoadStages(self.replica.engine, self.run_id, self.workers, self.should_stop)

    def execute(self) -> float:
        """Load, and hand over to the feed; how many seconds it took. Raises FcPipelineError, Stopped."""
        started = time.monotonic()
        if self.replica.targets is not None:
            raise ConfigError(
                "snapshots are loaded whole, and FC_TARGETS=set keeps targets alone",
                hint="materialise reconciled_fids of their buckets, or fc-pipeline backfill",
            )
        with bulk_load.alone(self.replica.engine):
            self._fold()
        return time.monotonic() - started

    def _fold(self) -> None:
        self._begin()
        settings = self.replica.settings
        task = SnapshotTask(settings.lake_uri, settings.libpq_url(), self.run_id)
        with LoadWorkers(partial(SnapshotLoader, task), self.workers, self.should_stop) as workers:
            self._stages.load(workers, CONTRACTS_STAGE)
            self._stages.derive_keys()
            self._stages.load(workers, MESSAGES_STAGE)
        self._stages.complete(emptying.COPIED)
        self._stages.hand_over(lambda connection: None)

    def _begin(self) -> None:
        """Take up the load that was cut short, or begin one."""
        with self.replica.engine.begin() as connection:
            connection.exec_driver_sql(MIGRATION.until_commit())  # who writes now has ended, and comes after this
            found = bulk_load.open_load(connection)
            if found is not None and found.source == SNAPSHOTS_IN_LAKE:
                log.info("bulk_fold_resumed")
                return
            if found is not None:
                raise ConfigError(
                    f"the tables are being loaded from {found.source}", hint="go on with that: fc-pipeline bootstrap"
                )
            emptying.require_empty(connection, emptying.FOLDED)
            parts = self._parts(connection)
            if not parts:
                raise LakeError(
                    "there are no snapshots of any user", hint="materialise fid_snapshots of the buckets first"
                )
            bulk_load.forget(connection)
            bulk_load.begin(connection, SNAPSHOTS_IN_LAKE, CONTRACTS_STAGE, self.run_id, ())
            bulk_load.add_parts(connection, CONTRACTS_STAGE, parts)
            bulk_load.add_parts(connection, MESSAGES_STAGE, parts)
            filling_steps(connection)
            emptying.prepare(connection, emptying.COPIED)

    def _parts(self, connection: sa.Connection) -> list[LoadPart]:
        """One per bucket that has snapshots."""
        columns = SNAPSHOTS.c
        query = sa.select(columns.bucket, sa.func.sum(columns.records)).group_by(columns.bucket)
        found = {bucket: int(records) for bucket, records in connection.execute(query)}
        return [LoadPart(0, bucket, bucket + 1, found[bucket]) for bucket in range(BUCKETS) if bucket in found]
