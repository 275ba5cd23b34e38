"""Check results as a run logs them itself: per hour it touched, whatever the range of its partitions."""

from collections.abc import Collection, Iterator, Sequence

from dagster import AssetCheckEvaluation, AssetCheckResult, AssetKey

from fc_pipeline.checks.fresh import judge_freshness
from fc_pipeline.checks.gaps import judge_gaps
from fc_pipeline.checks.keys import judge_keys
from fc_pipeline.checks.raw_log import COVERAGE, judge_raw_log
from fc_pipeline.checks.standstill import judge_standstill
from fc_pipeline.hours import Hour
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG

__all__ = ["evaluation_of", "evaluations"]


def evaluations(replica: Replica, hours: Sequence[Hour], outputs: Collection[str]) -> Iterator[AssetCheckEvaluation]:
    """Judge each hour of the raw log, if it is among a run's outputs, and the tables among them.

    Every check has the hours as its partitions, also what holds of a table as a whole: a check without them counts in
    Dagster as not evaluated as soon as any hour of its asset is materialised after it.
    """
    if RAW_LOG in outputs:
        of_hours = zip(hours, judge_freshness(replica, hours), judge_standstill(replica, hours), strict=True)
        gaps = judge_gaps(replica)
        for hour, freshness, standstill in of_hours:
            for result in (*judge_raw_log(replica, [hour]), gaps, freshness, standstill):
                yield evaluation_of(result, hour.key)
    for result in judge_keys(replica, sorted(set(outputs) - {RAW_LOG})):
        for hour in hours:
            yield evaluation_of(result, hour.key)


def evaluation_of(result: AssetCheckResult, partition: str | None) -> AssetCheckEvaluation:
    """A result as the event that is logged, of an hour's partition key or of none."""
    if result.asset_key is None or result.check_name is None:
        raise ValueError("a check result must name its asset and check")
    return AssetCheckEvaluation(
        asset_key=AssetKey.from_coercible(result.asset_key),
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
        blocking=result.check_name == COVERAGE,
        partition=partition,
    )
