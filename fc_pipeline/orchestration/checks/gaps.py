"""Is there a gap that waits to be healed?"""

from datetime import UTC, datetime, timedelta

from dagster import AssetCheckResult, AssetCheckSeverity

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.orchestration.checks.wording import check_spec, heights_of, table_of
from fc_pipeline.replica import Replica
from fc_pipeline.status import health
from fc_pipeline.store import gaps
from fc_pipeline.store.gaps import FAILED_HOUR, POISON_PAGE, Gap

__all__ = ["GAPS_SPEC", "NO_OPEN_GAPS", "evaluate_gaps"]

NO_OPEN_GAPS = "no_open_gaps"
HEALED_WITHIN = timedelta(minutes=15)
"""How long gap_sensor has for a new gap before a person must act."""
_MAX_NAMED = 5
_REMEDY = (
    "gap_sensor has them healed by the snapshots of their users; by hand: fc-pipeline backfill --gaps. "
    "A hub in FC_HUB_URLS that still has the blocks heals them, too."
)

GAPS_SPEC = check_spec(
    RAW_LOG,
    NO_OPEN_GAPS,
    "No blocks wait to be healed: such as the hub had forgotten before they were read, or of which it could not send "
    "an event. They are listed in pipeline.gaps. Yellow: a run heals them, or they were found a short while ago.",
    _REMEDY,
)


def evaluate_gaps(replica: Replica) -> AssetCheckResult:
    """The open gaps, oldest first, with description and remedy."""
    found = sorted(health.open_gaps(replica), key=lambda gap: (gap.found_at, gap.shard, gap.heights))
    with replica.engine.connect() as connection:
        is_being_healed = gaps.is_being_healed(connection)
    is_new = bool(found) and datetime.now(UTC) - found[0].found_at < HEALED_WITHIN
    blocks = sum(gap.heights.last - gap.heights.first + 1 for gap in found)
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=NO_OPEN_GAPS,
        passed=not found,
        severity=AssetCheckSeverity.WARN if is_being_healed or is_new else AssetCheckSeverity.ERROR,
        description=f"{'; '.join(_describe(found))}. {_REMEDY}" if found else None,
        metadata={
            "open_gaps": len(found),
            "blocks_in_open_gaps": blocks,
            "being_healed": is_being_healed,
            "gaps": table_of(
                (
                    {
                        "shard": gap.shard,
                        "heights": heights_of(gap.heights.first, gap.heights.last),
                        "reason": gap.reason,
                        "found_at": f"{gap.found_at:%Y-%m-%d %H:%M:%S}",
                    }
                    for gap in found
                ),
                ("shard", "heights", "reason", "found_at"),
            ),
        },
    )


def _describe(found: list[Gap]) -> list[str]:
    words = [_words(gap) for gap in found[:_MAX_NAMED]]
    return [*words, f"and {len(found) - _MAX_NAMED} more gaps"] if len(found) > _MAX_NAMED else words


def _words(gap: Gap) -> str:
    blocks = f"blocks {gap.heights.first}-{gap.heights.last}"
    if gap.reason == POISON_PAGE:
        return f"shard {gap.shard} has an event in block {gap.heights.first} that no hub could send"
    if gap.reason == FAILED_HOUR:
        return f"shard {gap.shard} cannot read {blocks}, which the hub has: see the failed runs of their hour"
    return f"shard {gap.shard} lacks {blocks}, which no hub has any more (outage)"
