"""Is the target set sound? Its copy in Redis is just it, and every target's history is complete or on its way."""

import time
from datetime import UTC, datetime

from dagster import AssetCheckResult, AssetCheckSeverity, AssetCheckSpec
from sqlalchemy import func, select

from fc_pipeline.ingest.replica import Replica
from fc_pipeline.tables.bookkeeping import TARGETS
from fc_pipeline.targets import coherence, directory

__all__ = ["HISTORIES_COMPLETE", "REDIS_EQUALS_POSTGRES", "TARGETS_ASSET", "TARGET_CHECK_SPECS", "judge_targets"]

TARGETS_ASSET = "targets"
REDIS_EQUALS_POSTGRES = "redis_equals_postgres"
HISTORIES_COMPLETE = "histories_complete"
PATIENCE_SECONDS = 3600.0
"""So long may a new target wait for its history before that is a warning."""

TARGET_CHECK_SPECS = [
    AssetCheckSpec(
        REDIS_EQUALS_POSTGRES,
        asset=TARGETS_ASSET,
        description="Redis holds just the targets that pipeline.targets does: count and members, both ways. What "
        "differs is put right at once, and targets that Redis did not know are asked for their history again.",
    ),
    AssetCheckSpec(
        HISTORIES_COMPLETE,
        asset=TARGETS_ASSET,
        description="Every target's history is complete, or was asked for a short while ago. The reason is in "
        "pipeline.targets.failure.",
    ),
]


def judge_targets(replica: Replica) -> list[AssetCheckResult]:
    """Both checks; with FC_TARGETS=all there is nothing to object to. Puts Redis right."""
    if replica.targets is None:
        return [AssetCheckResult(asset_key=TARGETS_ASSET, check_name=s.name, passed=True) for s in TARGET_CHECK_SPECS]
    return [_judge_cache(replica), _judge_histories(replica)]


def _judge_cache(replica: Replica) -> AssetCheckResult:
    found = coherence.repair(replica.engine, replica.settings.redis_url)
    said = None
    if not found.reachable:
        said = "Redis does not answer: membership is asked of Postgres, which is slower and as right"
    elif found.is_drift:
        said = f"{len(found.missing):,} targets were missing in Redis, {len(found.extra):,} only there; it is put right"
    return AssetCheckResult(
        asset_key=TARGETS_ASSET,
        check_name=REDIS_EQUALS_POSTGRES,
        passed=found.reachable and not found.is_drift,
        severity=AssetCheckSeverity.ERROR if found.is_drift else AssetCheckSeverity.WARN,
        description=said,
        metadata={
            "targets": found.targets,
            "cached": found.cached,
            "missing": len(found.missing) if found.is_drift else 0,
            "extra": len(found.extra) if found.is_drift else 0,
            "was_behind": found.is_behind,
        },
    )


def _judge_histories(replica: Replica) -> AssetCheckResult:
    with replica.engine.connect() as connection:
        known = directory.numbers(connection)
        waiting = TARGETS.c.synced_at.is_(None)
        oldest: datetime | None = connection.scalar(select(func.min(TARGETS.c.since)).where(waiting))
        failure = connection.scalar(select(TARGETS.c.failure).where(waiting, TARGETS.c.attempts > 0).limit(1))
    waited_seconds = max(0.0, time.time() - oldest.astimezone(UTC).timestamp()) if oldest else 0.0
    passed = not known.failing and waited_seconds <= PATIENCE_SECONDS
    said = f"{known.unsynced:,} targets wait for their history, {known.failing:,} of them in vain until now"
    return AssetCheckResult(
        asset_key=TARGETS_ASSET,
        check_name=HISTORIES_COMPLETE,
        passed=passed,
        severity=AssetCheckSeverity.WARN,
        description=None if passed else f"{said}: {failure}" if failure else said,
        metadata={"unsynced": known.unsynced, "failing": known.failing, "waited_seconds": round(waited_seconds, 1)},
    )
