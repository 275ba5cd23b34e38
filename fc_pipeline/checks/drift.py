"""Was the replica right? Judged by bucket, from what the newest comparison with the hub had to correct."""

from functools import reduce
from operator import add

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, asset_check

from fc_pipeline.ingest.audit import DriftFinding, drift_of_bucket
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.partitions import FID_BUCKETS, buckets_of_run
from fc_pipeline.resources import ReplicaResource

__all__ = ["NO_DRIFT", "judge_drift", "no_drift"]

NO_DRIFT = "no_drift"
_RECONCILED = "reconciled_fids"

ERROR_SHARE = 0.001
"""Above this share of the records compared, wrong rows are an error; below it, any is a warning."""
ERROR_ROWS = 10
"""Fewer are never more than a warning, however few records were compared."""


@asset_check(
    asset=_RECONCILED,
    name=NO_DRIFT,
    description="The newest comparison with the hub had to correct no row whose history is covered. Any is a warning, "
    f"more than {ERROR_SHARE:.1%} of the records compared ({ERROR_ROWS} rows at least) an error. They are kept in "
    "pipeline.drift.",
    partitions_def=FID_BUCKETS,
)
def no_drift(context: AssetCheckExecutionContext, replica: ReplicaResource) -> AssetCheckResult:
    """Judge it again; every run that reconciles does so for each of its buckets."""
    with replica.open(need_hub=False) as opened:
        return judge_drift(opened, *buckets_of_run(context))


def judge_drift(replica: Replica, *buckets: int) -> AssetCheckResult:
    """The newest rounds over these buckets as one result."""
    found = reduce(add, (drift_of_bucket(replica, bucket) for bucket in buckets), DriftFinding(0, 0, {}))
    share = found.rows / found.records if found.records else float(found.rows > 0)
    is_error = found.rows >= ERROR_ROWS and share > ERROR_SHARE
    return AssetCheckResult(
        asset_key=_RECONCILED,
        check_name=NO_DRIFT,
        passed=found.rows == 0,
        severity=AssetCheckSeverity.ERROR if is_error else AssetCheckSeverity.WARN,
        description=f"{found.rows:,} rows were wrong" if found.rows else None,
        metadata={
            "drift_rows": found.rows,
            "drift_share": round(share, 6),
            "fids_compared": found.fids,
            "records_compared": found.records,
            "drift_by_table": found.rows_by_table,
        },
    )
