"""Is the target set consistent? Its copy in Redis is equal, and every target's history is complete or on its way."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, multi_asset_check
from sqlalchemy import func, select

from fc_pipeline.orchestration.checks.wording import check_spec, table_of
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.store.bookkeeping import TARGETS
from fc_pipeline.targets import coherence, directory

__all__ = ["HISTORIES_COMPLETE", "REDIS_EQUALS_POSTGRES", "TARGETS_ASSET", "target_checks"]

TARGETS_ASSET = "targets"
REDIS_EQUALS_POSTGRES = "redis_equals_postgres"
HISTORIES_COMPLETE = "histories_complete"
MAX_WAIT_SECONDS = 3600.0
"""How long a new target may wait for its history before that is a warning."""

MAX_SHOWN = 20

_SPECS = (
    check_spec(
        TARGETS_ASSET,
        REDIS_EQUALS_POSTGRES,
        "Redis holds just the targets that pipeline.targets does: count and members, both ways. Red: its keys were "
        "changed by somebody; what differs is put right at once, and targets that Redis did not know are asked for "
        "their history again. Yellow: Redis does not answer.",
        "find out who writes to these keys, and evaluate it again. Redis does not answer: start it, or correct "
        "FC_REDIS_URL; until then Postgres is asked, which is slower and as right.",
    ),
    check_spec(
        TARGETS_ASSET,
        HISTORIES_COMPLETE,
        "Every target's history is complete, or was asked for a short while ago. Yellow: some wait for longer than an "
        "hour, or the hub could not answer for them.",
        "target_sensor tries again by itself; at once: `fc-pipeline sync`. If the hub cannot answer for one: another "
        "hub in FC_HUB_URLS, or `fc-pipeline targets remove FID --deny`.",
    ),
)


@multi_asset_check(name="target_checks", specs=_SPECS, can_subset=True)
def target_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Evaluate the target set now; passes with FC_TARGETS=all. Corrects Redis."""
    evaluators: Mapping[str, Callable[[Replica], AssetCheckResult]] = {
        REDIS_EQUALS_POSTGRES: _evaluate_cache,
        HISTORIES_COMPLETE: _evaluate_histories,
    }
    with failing_step(), replica.open(need_hub=False) as opened:
        for name in sorted(key.name for key in context.selected_asset_check_keys):
            yield _passed_without_set(name) if opened.targets is None else evaluators[name](opened)


def _passed_without_set(name: str) -> AssetCheckResult:
    return AssetCheckResult(
        asset_key=TARGETS_ASSET,
        check_name=name,
        passed=True,
        description="everybody is replicated (FC_TARGETS=all): there is no target set",
        metadata={"targets": "everybody"},
    )


def _evaluate_cache(replica: Replica) -> AssetCheckResult:
    found = coherence.repair(replica.engine, replica.settings.redis_url)
    description = None
    if not found.reachable:
        description = "Redis does not answer: membership is asked of Postgres, which is slower and as right"
    elif found.is_drift:
        description = (
            f"{len(found.missing):,} targets were missing in Redis, {len(found.extra):,} only there; it is put right"
        )
    return AssetCheckResult(
        asset_key=TARGETS_ASSET,
        check_name=REDIS_EQUALS_POSTGRES,
        passed=found.reachable and not found.is_drift,
        severity=AssetCheckSeverity.ERROR if found.is_drift else AssetCheckSeverity.WARN,
        description=description,
        metadata={
            "targets": found.targets,
            "cached": found.cached,
            "missing": len(found.missing) if found.is_drift else 0,
            "extra": len(found.extra) if found.is_drift else 0,
            "was_behind": found.is_behind,
        },
    )


def _evaluate_histories(replica: Replica) -> AssetCheckResult:
    with replica.engine.connect() as connection:
        known = directory.numbers(connection)
        waiting = TARGETS.c.synced_at.is_(None)
        oldest: datetime | None = connection.scalar(select(func.min(TARGETS.c.since)).where(waiting))
        columns = TARGETS.c
        longest = select(columns.fid, columns.reason, columns.since, columns.attempts, columns.failure).where(waiting)
        longest = longest.order_by(columns.attempts.desc(), columns.since).limit(MAX_SHOWN)
        unsynced = [dict(row) for row in connection.execute(longest).mappings()]
    failure = next((row["failure"] for row in unsynced if row["failure"]), None)
    waited_seconds = max(0.0, time.time() - oldest.astimezone(UTC).timestamp()) if oldest else 0.0
    passed = not known.failing and waited_seconds <= MAX_WAIT_SECONDS
    description = f"{known.unsynced:,} targets wait for their history, {known.failing:,} of them in vain until now"
    return AssetCheckResult(
        asset_key=TARGETS_ASSET,
        check_name=HISTORIES_COMPLETE,
        passed=passed,
        severity=AssetCheckSeverity.WARN,
        description=None if passed else f"{description}: {failure}" if failure else description,
        metadata={
            "unsynced": known.unsynced,
            "failing": known.failing,
            "waited_seconds": round(waited_seconds, 1),
            "waiting": table_of(
                ({**row, "since": f"{row['since']:%Y-%m-%d %H:%M:%S}"} for row in unsynced),
                ("fid", "reason", "since", "attempts", "failure"),
            ),
        },
    )
