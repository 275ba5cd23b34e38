"""Is the replica as new as the hub?"""

from dagster import AssetCheckResult, AssetCheckSeverity, asset_check

from fc_pipeline.errors import HubError
from fc_pipeline.ingest import health
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.resources import ReplicaResource

__all__ = ["fresh", "judge_freshness"]

STALE_AFTER_SECONDS = 60


@asset_check(
    asset=RAW_LOG,
    name="fresh",
    description=f"The newest folded block is at most {STALE_AFTER_SECONDS} s older than the hub's head.",
)
def fresh(replica: ReplicaResource) -> AssetCheckResult:
    """Judge it again; every run of the hourly assets does so at its end."""
    with replica.open() as opened:
        return judge_freshness(opened)


def judge_freshness(replica: Replica) -> AssetCheckResult:
    """The ledger against the hub's head, per shard."""
    try:
        finding = health.freshness(replica)
    except HubError as error:
        return AssetCheckResult(
            asset_key=RAW_LOG, check_name="fresh", passed=False, description=f"no hub to compare with: {error.message}"
        )
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name="fresh",
        passed=all(lag <= STALE_AFTER_SECONDS for lag in finding.lag_seconds.values()),
        severity=AssetCheckSeverity.WARN,
        metadata={
            "lag_seconds": round(max(finding.lag_seconds.values(), default=0.0), 1),
            "blocks_behind": max(finding.blocks_behind.values(), default=0),
        },
    )
