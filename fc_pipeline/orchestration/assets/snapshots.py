"""The assets by FID: the hub's records of users, stored in the lake, and the tables reconciled with them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetMaterialization,
    AssetSpec,
    BackfillPolicy,
    Config,
    MaterializeResult,
    TableColumn,
    TableSchema,
    multi_asset,
)
from pydantic import Field

from fc_pipeline.backfill.progress import BackfillProgress, BucketProgress
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope, buckets_named
from fc_pipeline.hours import Hour
from fc_pipeline.lake.snapshot_log import SNAPSHOT_SCHEMA, bucket_key, bucket_of
from fc_pipeline.orchestration.assets.links import links_of
from fc_pipeline.orchestration.assets.outputs import logged_outputs
from fc_pipeline.orchestration.assets.specs import OWNERS
from fc_pipeline.orchestration.assets.targets import TARGETS_ASSET
from fc_pipeline.orchestration.checks.drift import evaluate_drift
from fc_pipeline.orchestration.checks.evaluation import CheckReporter
from fc_pipeline.orchestration.checks.gaps import evaluate_gaps
from fc_pipeline.orchestration.checks.raw_log import evaluate_coverage
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.partitions import FID_BUCKETS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.gaps import bordering_hours, heal_gaps
from fc_pipeline.repair.targets import sync_targets
from fc_pipeline.replica import Replica
from fc_pipeline.status import health
from fc_pipeline.store import snapshot_ledger
from fc_pipeline.store.bookkeeping import SNAPSHOTS

__all__ = [
    "GAPS_TAG",
    "RECONCILED",
    "SNAPSHOTS_ASSET",
    "SNAPSHOT_SPECS",
    "TARGETS_TAG",
    "BackfillConfig",
    "fid_tables",
]

GAPS_TAG = "fc/gaps"
"""Tag of the runs that heal gaps."""
TARGETS_TAG = "fc/targets"
"""Tag of the runs that complete new targets."""
_STEP = "orchestration/assets/snapshots.py"
SNAPSHOTS_ASSET = "fid_snapshots"
RECONCILED = "reconciled_fids"
EVALUATE_SECONDS = 60.0

_PLAIN = {
    "shard": "The FID's shard",
    "fetched_at": "When the snapshot was fetched",
    "folded_at": "When it was folded",
    "fid": "The user",
}
"""Columns whose bare name would be ambiguous in a list."""


def _snapshot_columns() -> list[TableColumn]:
    return [
        TableColumn(field.name, str(field.type), description=(field.metadata or {})[b"description"].decode())
        for field in SNAPSHOT_SCHEMA
    ]


def _ledger_columns() -> list[TableColumn]:
    return [
        TableColumn(column.name, str(column.type).lower(), description=column.comment or _PLAIN[column.name])
        for column in SNAPSHOTS.columns
    ]


SNAPSHOT_SPECS = (
    AssetSpec(
        SNAPSHOTS_ASSET,
        deps=[AssetDep(TARGETS_ASSET)],
        description=(
            "All that the hub's by-FID endpoints say of a bucket's users, byte for byte, as Parquet: the years before "
            "the feed begins, and what the feed is held against."
        ),
        group_name="snapshots",
        kinds={"farcaster", "parquet", "bronze"},
        owners=OWNERS,
        skippable=True,
        metadata={
            "dagster/column_schema": TableSchema(columns=_snapshot_columns()),
            "dagster/storage_kind": "parquet",
            **links_of(SNAPSHOTS_ASSET, step=_STEP, hub_reader="backfill/fid_records.py"),
        },
    ),
    AssetSpec(
        RECONCILED,
        deps=[AssetDep(SNAPSHOTS_ASSET)],
        description=(
            "The snapshots folded into the tables: missing rows are added, wrong ones put right, phantom ones deleted. "
            "What a covered history should have had right is drift, kept with both versions of the row in "
            "pipeline.drift."
        ),
        group_name="snapshots",
        kinds={"postgres", "silver"},
        owners=OWNERS,
        skippable=True,
        metadata={
            "dagster/column_schema": TableSchema(columns=_ledger_columns()),
            "dagster/table_name": f"{SNAPSHOTS.schema}.{SNAPSHOTS.name}",
            **links_of(RECONCILED, step=_STEP, reconciler="reconcile/reconciler.py"),
        },
    ),
)
"""Fetching and folding, one spec each."""


class BackfillConfig(Config):
    """The users whose snapshots a run takes."""

    fids: list[int] | None = Field(
        default=None, description="Only these users of the partitions chosen. Default: all that the hub lists."
    )
    buckets: str = Field(
        default="",
        description="These buckets, such as 000...063, or 0-15, 200, whatever partitions are chosen: a range of "
        "them is one line rather than a click each. Empty: the partitions of the run.",
    )
    gaps: bool = Field(
        default=False,
        description="Heal what pipeline.gaps lists as open: the users concerned, whatever partitions are chosen.",
    )
    targets: bool = Field(
        default=False,
        description="Complete the histories that targets lack, from the raw log and by snapshots, and settle what "
        "becomes of former targets' rows; whatever partitions are chosen.",
    )


@multi_asset(
    name="snapshot",
    specs=SNAPSHOT_SPECS,
    partitions_def=FID_BUCKETS,
    can_subset=True,
    backfill_policy=BackfillPolicy.single_run(),
)
def fid_tables(
    context: AssetExecutionContext, config: BackfillConfig, replica: ReplicaResource
) -> Iterator[MaterializeResult[Any]]:
    """Fetch all records of each user of the buckets from the hub, and fold them.

    `fid_snapshots` alone only fetches, `reconciled_fids` alone folds what the lake has. The next run over the same
    users within a day resumes an interrupted one.
    """
    selected = {key.to_user_string() for key in context.selected_asset_keys}
    fetch = SNAPSHOTS_ASSET in selected
    buckets = buckets_named(config.buckets) if config.buckets else [int(key) for key in context.partition_keys]
    with failing_step(), interruptible() as interruption, replica.open(need_hub=fetch) as opened:
        reporter = _BucketReporter(
            context, opened, [name for name in (SNAPSHOTS_ASSET, RECONCILED) if name in selected]
        )

        def over(scope: BackfillScope) -> Backfill:
            backfill = Backfill(
                opened,
                context.run.run_id,
                scope,
                fetch=fetch,
                fold=RECONCILED in selected,
                should_stop=interruption.is_asked_for,
                on_progress=lambda progress: context.log.info(progress.line()),
            )
            backfill.on_bucket = lambda bucket: reporter.report(backfill.progress, bucket)
            return backfill

        if config.gaps:
            plan = heal_gaps(opened, context.run.run_id, over)
            context.log.info(f"{len(plan.damaged_ranges)} gaps, {len(plan.fids):,} users")
            reporter.evaluate_gaps(bordering_hours(opened, plan))
        elif config.targets:
            synced = sync_targets(opened, context.run.run_id, over, should_stop=interruption.is_asked_for)
            context.log.info(synced.line())
        else:
            over(_scope(buckets, config.fids)).execute()
        reporter.evaluate()
        interruption.end_run(context)  # either way the work is complete
    yield from logged_outputs(reporter.assets)


def _scope(buckets: Sequence[int], fids: list[int] | None) -> BackfillScope:
    if fids is None:
        return BackfillScope(tuple(buckets))
    chosen = frozenset(fid for fid in fids if bucket_of(fid) in buckets)
    return BackfillScope.of_fids(chosen)


@dataclass
class _BucketReporter:
    """Reports each finished bucket to Dagster, and from time to time whether any had drift."""

    context: AssetExecutionContext
    replica: Replica
    assets: list[str]
    _evaluated_at: float = float("-inf")

    def __post_init__(self) -> None:
        self._checks = CheckReporter(self.context, self.assets)

    def report(self, progress: BackfillProgress, bucket: BucketProgress) -> None:
        """Log a materialisation per asset."""
        metadata = {SNAPSHOTS_ASSET: _fetched(bucket), RECONCILED: self._folded(progress, bucket)}
        for asset in self.assets:
            self.context.log_event(
                AssetMaterialization(
                    asset, partition=bucket_key(bucket.bucket), metadata={**metadata[asset], **_of_run(progress)}
                )
            )
        self._checks.repeat()
        if time.monotonic() - self._evaluated_at >= EVALUATE_SECONDS:
            self.evaluate()

    def evaluate(self) -> None:
        """Log whether any bucket has drift that was not cleared."""
        self._evaluated_at = time.monotonic()
        if RECONCILED in self.assets:
            self._checks.report([evaluate_drift(self.replica)])

    def evaluate_gaps(self, hours: Sequence[Hour]) -> None:
        """Log whether any gap is open now, and whether the hours that had some are whole."""
        for hour in hours:
            found = health.coverage_of_hours(self.replica, [hour])
            self.context.log.info(
                f"{hour.key}: {found.missing_blocks:,} blocks missing, {found.blocks_by_snapshots:,} known by snapshots"
            )
        self._checks.report([evaluate_gaps(self.replica), evaluate_coverage(self.replica)])

    def _folded(self, progress: BackfillProgress, bucket: BucketProgress) -> dict[str, Any]:
        with self.replica.engine.connect() as connection:
            drift = snapshot_ledger.drift_of_run(connection, self.context.run.run_id, bucket.bucket)
        return {
            "fids_folded": bucket.fids_folded,
            "drift_rows": sum(drift.values()),
            **{f"drift_{table}": rows for table, rows in sorted(drift.items())},
            "run_messages_folded": progress.reconciled.messages,
            "run_unjudged_fids": progress.reconciled.unjudged_fids,
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
        "run_requests": progress.requests,
        "run_seconds": round(progress.seconds, 1),
        "run_seconds_left": round(progress.seconds_left or 0.0, 1),
    }
