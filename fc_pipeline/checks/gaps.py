"""Is there a gap that waits to be healed? Judged of the whole replica, whatever the hour."""

from dagster import AssetCheckExecutionContext, AssetCheckResult, asset_check

from fc_pipeline.fold.gaps import FAILED_HOUR, POISON_PAGE, Gap
from fc_pipeline.ingest import health
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.partitions import HOURS
from fc_pipeline.resources import ReplicaResource

__all__ = ["NO_OPEN_GAPS", "judge_gaps", "no_open_gaps"]

NO_OPEN_GAPS = "no_open_gaps"
_MOST_NAMED = 5
_REMEDY = (
    "gap_sensor has them healed by the snapshots of their users; by hand: fc-pipeline backfill --gaps. "
    "A hub in FC_HUB_URLS that still has the blocks heals them, too."
)


@asset_check(
    asset=RAW_LOG,
    name=NO_OPEN_GAPS,
    description="No blocks of any hour wait to be healed: such as the hub had forgotten before they were read, or of "
    "which it could not send an event. They are listed in pipeline.gaps.",
    partitions_def=HOURS,
)
def no_open_gaps(context: AssetCheckExecutionContext, replica: ReplicaResource) -> AssetCheckResult:
    """Judge it again; every run of the hourly assets does so, and the run that heals."""
    with replica.open(need_hub=False) as opened:
        return judge_gaps(opened)


def judge_gaps(replica: Replica) -> AssetCheckResult:
    """What is open now, with words and remedy."""
    found = health.open_gaps(replica)
    blocks = sum(gap.heights.last - gap.heights.first + 1 for gap in found)
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=NO_OPEN_GAPS,
        passed=not found,
        description=f"{'; '.join(_said(found))}. {_REMEDY}" if found else None,
        metadata={"open_gaps": len(found), "blocks_in_open_gaps": blocks},
    )


def _said(found: list[Gap]) -> list[str]:
    words = [_words(gap) for gap in found[:_MOST_NAMED]]
    return [*words, f"and {len(found) - _MOST_NAMED} more gaps"] if len(found) > _MOST_NAMED else words


def _words(gap: Gap) -> str:
    blocks = f"blocks {gap.heights.first}-{gap.heights.last}"
    if gap.reason == POISON_PAGE:
        return f"shard {gap.shard} has an event in block {gap.heights.first} that no hub could send"
    if gap.reason == FAILED_HOUR:
        return f"shard {gap.shard} cannot read {blocks}, which the hub has: see the failed runs of their hour"
    return f"shard {gap.shard} lacks {blocks}, which no hub has any more (outage)"
