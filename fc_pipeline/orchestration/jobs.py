"""The jobs: micro-batches over hours, snapshots over buckets of users, the target set, all checks, and the proofs."""

from typing import Final

from dagster import AssetSelection, define_asset_job

from fc_pipeline.orchestration.assets.hourly import hourly_tables
from fc_pipeline.orchestration.assets.snapshots import fid_tables
from fc_pipeline.orchestration.assets.targets import target_set
from fc_pipeline.orchestration.checks.message_proofs import message_proofs
from fc_pipeline.orchestration.checks.state_root import state_root

__all__ = ["LONG_RUN_TAGS", "MICRO_BATCHES", "PROOFS", "RUN_CHECKS", "SNAPSHOTS", "TARGET_SET_JOB"]

LONG_RUN_TAGS: Final = {"dagster/max_runtime": str(30 * 24 * 3600)}
"""For runs that fetch whole histories: a round over the network takes days at a hosted hub's budget."""

MICRO_BATCHES = define_asset_job(
    "micro_batches",
    # A run evaluates the hours that it touched itself (checks.evaluation).
    selection=AssetSelection.assets(hourly_tables).without_checks(),
    description="Read the hub's feed into the raw log, fold it into the tables, check the result; by hour.",
)

SNAPSHOTS = define_asset_job(
    "snapshots",
    selection=AssetSelection.assets(fid_tables).without_checks(),
    tags=LONG_RUN_TAGS,
    description="Ask the hub for all records of the users of a bucket, and make the tables equal to them.",
)

TARGET_SET_JOB = define_asset_job(
    "target_set",
    selection=AssetSelection.assets(target_set),
    description="Recompute the target set from the tables, and compare its copy in Redis.",
)

_PROOFS: Final = AssetSelection.checks(*state_root.check_keys, *message_proofs.check_keys)

PROOFS = define_asset_job(
    "proofs",
    selection=_PROOFS,
    description="Prove the replica against the state root that the network signed, and a sample of messages.",
)

RUN_CHECKS = define_asset_job(
    "run_checks",
    selection=AssetSelection.all_asset_checks() - _PROOFS,
    description="Evaluate every asset as a whole by all of its checks, from ledger, tables and raw log; but for the "
    "proofs, which have a job of their own.",
)
