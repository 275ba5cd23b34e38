"""The assets by FID: the hub's records of users, stored in the lake, and the tables reconciled with them."""

from collections.abc import Iterator, Sequence
from typing import Any

from dagster import (
    AssetDep,
    AssetExecutionContext,
    AssetSpec,
    BackfillPolicy,
    Config,
    MaterializeResult,
    TableColumn,
    TableSchema,
    multi_asset,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG
from pydantic import Field

from fc_pipeline.backfill.round_plan import BUCKETS_PER_RUN
from fc_pipeline.backfill.scope import BackfillScope, buckets_named
from fc_pipeline.lake.snapshot_log import SNAPSHOT_SCHEMA, bucket_of
from fc_pipeline.orchestration.assets.bucket_reports import BY_BUCKETS, RECONCILED, SNAPSHOTS_ASSET, BucketReporter
from fc_pipeline.orchestration.assets.links import links_of
from fc_pipeline.orchestration.assets.outputs import OUTCOME, logged_outputs
from fc_pipeline.orchestration.assets.specs import OWNERS, table_spec
from fc_pipeline.orchestration.assets.targets import TARGETS_ASSET
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.instance.concurrency import HUB_POOL
from fc_pipeline.orchestration.interruption import interruptible
from fc_pipeline.orchestration.names import bare
from fc_pipeline.orchestration.partitions import FID_BUCKETS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.repair.audit import proved_users
from fc_pipeline.store.bookkeeping import SNAPSHOTS
from fc_pipeline.tables.gasless_keys import GASLESS_KEYS

__all__ = ["SNAPSHOT_SPECS", "BackfillConfig", "fid_tables"]

_STEP = "orchestration/assets/snapshots.py:fid_tables"

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
            **links_of(SNAPSHOTS_ASSET, step=_STEP, hub_reader="backfill/fid_records.py:snapshot"),
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
            **links_of(RECONCILED, step=_STEP, reconciler="reconcile/reconciler.py:Reconciler"),
        },
    ),
    table_spec(GASLESS_KEYS, [RECONCILED], {"postgres", "silver"}, _STEP),
)
"""Fetching, folding, and the table that only snapshots fill, one spec each."""


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
    hashes_first: bool = Field(
        default=False,
        description="Read only users whose records are not the hub's by hash, where a hub is asked over gRPC "
        "(FC_HUB_GRPC): the daily audit does. Default: read everybody.",
    )
    round_name: str = Field(
        default="",
        description="Runs with the same name share one list of all users. Empty: those of one backfill of the UI do.",
    )


@multi_asset(
    name="snapshot",
    specs=SNAPSHOT_SPECS,
    partitions_def=FID_BUCKETS,
    can_subset=True,
    backfill_policy=BackfillPolicy.multi_run(max_partitions_per_run=BUCKETS_PER_RUN),
    pool=HUB_POOL,
)
def fid_tables(
    context: AssetExecutionContext, config: BackfillConfig, replica: ReplicaResource
) -> Iterator[MaterializeResult[Any]]:
    """Fetch all records of each user of the buckets from the hub, and fold them.

    `fid_snapshots` alone only fetches; without it what the lake has is folded, into all tables alike. The next run over
    the same users within a day resumes an interrupted one.
    """
    selected = {bare(key) for key in context.selected_asset_keys}
    fetch = SNAPSHOTS_ASSET in selected
    buckets = buckets_named(config.buckets) if config.buckets else [int(key) for key in context.partition_keys]
    with failing_step(), interruptible() as interruption, replica.open(need_hub=fetch) as opened:
        assets = [name for name in BY_BUCKETS if name in selected]
        reporter = BucketReporter(context, replica.names, opened, interruption, assets)
        by_hash = proved_users if config.hashes_first else None
        round_name = config.round_name or context.run.tags.get(BACKFILL_ID_TAG)
        reporter.backfill(_scope(buckets, config.fids), by_hash, round_name).execute()
        reporter.evaluate()
        interruption.end_run(context)  # either way the work is complete
    yield from logged_outputs(assets, {OUTCOME: reporter.outcome().figures()})


def _scope(buckets: Sequence[int], fids: list[int] | None) -> BackfillScope:
    if fids is None:
        return BackfillScope(tuple(buckets))
    chosen = frozenset(fid for fid in fids if bucket_of(fid) in buckets)
    return BackfillScope.of_fids(chosen)
