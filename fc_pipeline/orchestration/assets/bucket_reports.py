"""Reports of a backfill to Dagster: a materialisation per finished bucket, and whether there is drift."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dagster import AssetCheckResult, AssetExecutionContext, AssetKey, AssetMaterialization, OpExecutionContext

from fc_pipeline.backfill.progress import BackfillOutcome, BackfillProgress, BucketProgress
from fc_pipeline.backfill.run import Backfill, ProvedUsers
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.hours import Hour
from fc_pipeline.lake.snapshot_log import bucket_key
from fc_pipeline.orchestration.assets.code_versions import code_version_of
from fc_pipeline.orchestration.assets.provenance import PartitionProvenance
from fc_pipeline.orchestration.checks.drift import evaluate_drift
from fc_pipeline.orchestration.checks.evaluation import CheckReporter
from fc_pipeline.orchestration.checks.gaps import evaluate_gaps
from fc_pipeline.orchestration.checks.raw_log import evaluate_coverage
from fc_pipeline.orchestration.interruption import Interruption
from fc_pipeline.orchestration.names import Names
from fc_pipeline.replica import Replica
from fc_pipeline.status import health
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.store import snapshot_ledger
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS

__all__ = ["BY_BUCKETS", "RECONCILED", "SNAPSHOTS_ASSET", "BucketReporter"]

SNAPSHOTS_ASSET: Final = "fid_snapshots"
RECONCILED: Final = "reconciled_fids"
BY_BUCKETS: Final = (SNAPSHOTS_ASSET, RECONCILED, GASLESS_KEYS.name)
"""What snapshots of a bucket's users make, in its order."""
EVALUATE_SECONDS: Final = 60.0


@dataclass
class BucketReporter:
    """Reports each finished bucket to Dagster, and from time to time whether any had drift."""

    context: AssetExecutionContext | OpExecutionContext
    names: Names
    replica: Replica
    interruption: Interruption
    assets: Sequence[str] = BY_BUCKETS
    _backfills: list[Backfill] = field(default_factory=list[Backfill])
    _evaluated_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._checks = CheckReporter(self.context, self.names, self.assets)

    @property
    def _folds(self) -> bool:
        return not {RECONCILED, GASLESS_KEYS.name}.isdisjoint(self.assets)

    def backfill(
        self, scope: BackfillScope, proved_users: ProvedUsers | None = None, round_name: str | None = None
    ) -> Backfill:
        """A backfill over a scope for these assets that reports here; a signal to the run ends it early.

        Nobody is read whom `proved_users` names. Runs with the same `round_name` share one list of all users.
        """
        work = Backfill(
            self.replica,
            self.context.run.run_id,
            scope,
            fetch=SNAPSHOTS_ASSET in self.assets,
            fold=self._folds,
            should_stop=self.interruption.is_requested,
            proved_users=proved_users,
            round_name=round_name,
            on_progress=lambda progress: self.context.log.info(progress.line()),
        )
        work.on_bucket = lambda bucket: self._report(work.progress, bucket)
        self._backfills.append(work)
        return work

    def outcome(self) -> BackfillOutcome:
        """The sum over all backfills of this run."""
        return sum((work.progress.outcome() for work in self._backfills), BackfillOutcome())

    def _report(self, progress: BackfillProgress, bucket: BucketProgress) -> None:
        """Log a materialisation per asset."""
        metadata = {
            SNAPSHOTS_ASSET: _fetched(bucket),
            RECONCILED: self._folded(progress, bucket),
            GASLESS_KEYS.name: {"dagster/row_count": self._gasless_keys(), "fids_folded": bucket.fids_folded},
        }
        partition = bucket_key(bucket.bucket)
        provenance = PartitionProvenance(self.context.instance, self.names, partition)
        for asset in self.assets:
            is_table = asset == GASLESS_KEYS.name
            self.context.log_event(
                AssetMaterialization(
                    self.names.key(asset),
                    partition=partition,
                    metadata={**metadata[asset], **_of_run(progress)},
                    tags=provenance.tags(code_version_of(GASLESS_KEYS), [AssetKey(RECONCILED)]) if is_table else None,
                )
            )
        self._checks.repeat()
        if time.monotonic() - self._evaluated_at >= EVALUATE_SECONDS:
            self.evaluate()

    def evaluate(self) -> None:
        """Log whether any bucket has drift that was not cleared."""
        self._evaluated_at = time.monotonic()
        if self._folds:
            self._checks.report([evaluate_drift(self.replica)])

    def report(self, results: Iterable[AssetCheckResult]) -> None:
        """Log results of checks of these assets."""
        self._checks.report(results)

    def evaluate_gaps(self, hours: Sequence[Hour]) -> None:
        """Log whether any gap is open now, and whether the hours that had some are whole."""
        for hour in hours:
            found = health.coverage_of_hours(self.replica, [hour])
            self.context.log.info(
                f"{hour.key}: {found.missing_blocks:,} blocks missing, {found.blocks_by_snapshots:,} known by snapshots"
            )
        self._checks.report([evaluate_gaps(self.replica), evaluate_coverage(self.replica)])

    def _gasless_keys(self) -> int:
        with self.replica.engine.connect() as connection:
            return live_rows(connection, GASLESS_KEYS)

    def _folded(self, progress: BackfillProgress, bucket: BucketProgress) -> dict[str, Any]:
        with self.replica.engine.connect() as connection:
            drift = snapshot_ledger.drift_of_run(connection, self.context.run.run_id, bucket.bucket)
        return {
            "fids_folded": bucket.fids_folded,
            "drift_rows": sum(drift.values()),
            **{f"drift_{table}": rows for table, rows in sorted(drift.items())},
            "run_messages_folded": progress.reconciled.messages,
            "run_unjudged_fids": progress.reconciled.uncovered_fids,
        }


def _fetched(bucket: BucketProgress) -> dict[str, Any]:
    return {
        "fids_fetched": bucket.fids_fetched,
        "requests": bucket.requests,
        "records": bucket.records,
        "unread_fids": len(bucket.unread),
    }


def _of_run(progress: BackfillProgress) -> dict[str, Any]:
    return {
        "run_fids_done": progress.fids - progress.fids_left,
        "run_fids_left": progress.fids_left,
        "run_equal_fids": progress.equal_fids,
        "run_requests": progress.requests,
        "run_seconds": round(progress.seconds, 1),
        "run_seconds_left": round(progress.seconds_left or 0.0, 1),
    }
