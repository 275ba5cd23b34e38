"""Is the replica as new as the hub?"""

from collections.abc import Iterator, Sequence

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, asset_check

from fc_pipeline.errors import HubError
from fc_pipeline.hours import Hour
from fc_pipeline.ingest import health
from fc_pipeline.ingest.health import FreshnessFinding
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.partitions import HOURS, hours_of_run
from fc_pipeline.resources import ReplicaResource

__all__ = ["fresh", "judge_freshness"]

STALE_AFTER_SECONDS = 60


@asset_check(
    asset=RAW_LOG,
    name="fresh",
    description=f"The hour's newest folded block is at most {STALE_AFTER_SECONDS} s older than the newest that the hub "
    "has of it.",
    partitions_def=HOURS,
)
def fresh(context: AssetCheckExecutionContext, replica: ReplicaResource) -> AssetCheckResult:
    """Judge it again, of a range the last hour; every run of the hourly assets does so at its end."""
    with replica.open() as opened:
        return next(judge_freshness(opened, hours_of_run(context)[-1:]))


def judge_freshness(replica: Replica, hours: Sequence[Hour]) -> Iterator[AssetCheckResult]:
    """The ledger against the hub, per hour."""
    try:
        findings = health.freshness_of_hours(replica, hours)
    except HubError as error:
        for _ in hours:
            yield AssetCheckResult(
                asset_key=RAW_LOG,
                check_name="fresh",
                passed=False,
                severity=AssetCheckSeverity.WARN,
                description=f"no hub to compare with: {error.message}",
            )
        return
    yield from (_judged(findings[hour]) for hour in hours)


def _judged(finding: FreshnessFinding) -> AssetCheckResult:
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
