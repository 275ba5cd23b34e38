"""Is the replica as fresh as the hub?"""

from dagster import AssetCheckResult, AssetCheckSeverity

from fc_pipeline.errors import HubError
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.checks.wording import check_spec, table_of, without_hub
from fc_pipeline.replica import Replica
from fc_pipeline.status import health

__all__ = ["FRESH", "FRESH_SPEC", "evaluate_freshness", "result_of"]

FRESH = "fresh"
STALE_AFTER_SECONDS = 60

FRESH_SPEC = check_spec(
    RAW_LOG,
    FRESH,
    f"The newest folded block of every shard is at most {STALE_AFTER_SECONDS} s older than the hub's head. Yellow: it "
    "is older, or no hub answers.",
    "`fc-pipeline status` shows whether the lag falls: then it is catching up, wait. If it does not fall, see "
    "no_standstill. No hub answers: start it, or name another one in FC_HUB_URLS.",
)


def evaluate_freshness(replica: Replica) -> AssetCheckResult:
    """The ledger compared with the hub's heads, now."""
    try:
        return result_of(health.freshness(replica))
    except HubError as error:
        return without_hub(FRESH, error)


def result_of(finding: health.FreshnessFinding) -> AssetCheckResult:
    """What was found, as the result of the check."""
    lag_seconds = max(finding.lag_seconds.values(), default=0.0)
    stale = {shard: lag for shard, lag in finding.lag_seconds.items() if lag > STALE_AFTER_SECONDS}
    worst_first = sorted(finding.lag_seconds, key=lambda shard: (-finding.lag_seconds[shard], shard))
    rows = [
        {"shard": s, "lag_seconds": round(finding.lag_seconds[s], 1), "blocks_behind": finding.blocks_behind[s]}
        for s in worst_first
    ]
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=FRESH,
        passed=not stale,
        severity=AssetCheckSeverity.WARN,
        description=f"shard {worst_first[0]} is {lag_seconds:,.0f} s behind the hub" if stale else None,
        metadata={
            "lag_seconds": round(lag_seconds, 1),
            "blocks_behind": max(finding.blocks_behind.values(), default=0),
            "by_shard": table_of(rows, ("shard", "lag_seconds", "blocks_behind")),
        },
    )
