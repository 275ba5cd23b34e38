"""Was the replica right? Evaluated by bucket, from what comparisons with the hub had to correct."""

from dagster import AssetCheckResult, AssetCheckSeverity, asset_check

from fc_pipeline.orchestration.checks.wording import check_spec, table_of, with_remedy
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status.drift import BucketDrift, drift_by_bucket

__all__ = ["NO_DRIFT", "evaluate_drift", "no_drift"]

NO_DRIFT = "no_drift"
MAX_NAMED_FIDS = 100
"""Up to this many are named in a command to copy."""
_RECONCILED = "reconciled_fids"

ERROR_SHARE = 0.001
"""Above this share of a bucket's records, wrong rows are an error; below it, any is a warning."""
ERROR_ROWS = 10
"""Fewer wrong rows are at most a warning, however few records were compared."""

_SPEC = check_spec(
    _RECONCILED,
    NO_DRIFT,
    "No comparison with the hub had to correct a row whose history is covered. Any is yellow, more than "
    f"{ERROR_SHARE:.1%} of a bucket's records ({ERROR_ROWS} rows at least) red. They were put right when they were "
    "found and are kept in pipeline.drift with both versions; the check goes by each bucket's users until a later "
    "comparison finds them right.",
    "find out who or what changed these rows (pipeline.drift says which and when), then have the users compared "
    "again: `fc-pipeline backfill --fids …` of the table below, or `fc-pipeline backfill --buckets …`.",
)


@asset_check(asset=_RECONCILED, name=NO_DRIFT, description=_SPEC.description, metadata=_SPEC.metadata)
def no_drift(replica: ReplicaResource) -> AssetCheckResult:
    """Evaluate all buckets now, as every run that reconciles does."""
    with failing_step(), replica.open(need_hub=False) as opened:
        return evaluate_drift(opened)


def evaluate_drift(replica: Replica) -> AssetCheckResult:
    """All buckets as one result, worst first; the worst decides the severity."""
    buckets = sorted(drift_by_bucket(replica), key=lambda one: (not _is_error(one), -one.rows, one.bucket))
    wrong = [one for one in buckets if one.rows]
    by_table: dict[str, int] = {}
    for one in wrong:
        for name, rows in one.rows_by_table.items():
            by_table[name] = by_table.get(name, 0) + rows
    return AssetCheckResult(
        asset_key=_RECONCILED,
        check_name=NO_DRIFT,
        passed=not wrong,
        severity=AssetCheckSeverity.ERROR if any(map(_is_error, wrong)) else AssetCheckSeverity.WARN,
        description=_describe(wrong) if wrong else None,
        metadata={
            "drift_rows": sum(one.rows for one in wrong),
            "buckets_with_drift": len(wrong),
            "buckets_compared": len(buckets),
            "fids_compared": sum(one.fids for one in buckets),
            "records_compared": sum(one.records for one in buckets),
            "drift_by_table": by_table,
            "buckets": table_of(
                (
                    {
                        "bucket": f"{one.bucket:03}",
                        "wrong_rows": one.rows,
                        "share_percent": round(one.share * 100, 4),
                        "tables": ", ".join(f"{name} {rows:,}" for name, rows in one.rows_by_table.items()),
                        "fids": ", ".join(map(str, one.drifted_fids)),
                        "found_at": f"{one.first_found:%Y-%m-%d %H:%M:%S}" if one.first_found else "",
                        "compared_at": f"{one.compared_at:%Y-%m-%d %H:%M:%S}" if one.compared_at else "",
                    }
                    for one in buckets
                ),
                ("bucket", "wrong_rows", "share_percent", "tables", "fids", "found_at", "compared_at"),
                most=len(buckets),
            ),
        },
    )


def _is_error(one: BucketDrift) -> bool:
    return one.rows >= ERROR_ROWS and one.share > ERROR_SHARE


def _describe(wrong: list[BucketDrift]) -> str:
    rows, worst = sum(one.rows for one in wrong), wrong[0]
    more = f", bucket {worst.bucket:03} has most of them ({worst.rows:,})" if len(wrong) > 1 else ""
    return with_remedy(
        f"{rows:,} rows were wrong in {len(wrong)} buckets{more}; they were put right when they were found",
        f"fc-pipeline backfill {_scope_of(wrong)} compares again",
    )


def _scope_of(wrong: list[BucketDrift]) -> str:
    """The options of a backfill that compares all of them: their users by name if these are known and few."""
    fids = sorted(fid for one in wrong for fid in one.drifted_fids)
    if len(fids) <= MAX_NAMED_FIDS and all(one.drifted_fids for one in wrong):
        return f"--fids {','.join(map(str, fids))}"
    return f"--buckets {wrong[0].bucket}" if len(wrong) == 1 else "--all"
