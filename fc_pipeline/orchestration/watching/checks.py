"""Conditions of checks: the newest result of each, as Dagster keeps it; freshness is looked at anew each time.

Nobody evaluates `fresh` and `no_standstill` while Dagster's daemon and runs are dead, which is when they matter most.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    DagsterInstance,
)
from dagster._core.storage.asset_check_execution_record import (
    COMPLETED_ASSET_CHECK_EXECUTION_RECORD_STATUSES as _EVALUATED,
)

from fc_pipeline.alerts.condition import Condition, Reading, Severity, merged
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import HubError, HubUntrusted, NothingYet
from fc_pipeline.orchestration.checks import fresh, stall
from fc_pipeline.orchestration.checks.catalog import ALL_CHECKS
from fc_pipeline.orchestration.checks.newest import newest_evaluated
from fc_pipeline.orchestration.checks.wording import remedy_of, runbook_of
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.remedies import remedy_in
from fc_pipeline.replica import Replica, open_replica_to_read
from fc_pipeline.services import with_running
from fc_pipeline.status import health
from fc_pipeline.status.stall import detect_stall

__all__ = ["CHECK_AREAS", "FRESHNESS_AREAS", "read_checks", "read_freshness"]

CHECK_AREAS: Final = frozenset({"check"})
FRESHNESS_AREAS: Final = frozenset({"fresh", "stall", "trust"})

_SETTLING_SECONDS: Final = 120.0
"""A start after a pause has to catch up, which is no news yet."""
_TWICE_SECONDS: Final = 15.0
"""Red is told when two looks in turn have found it."""
_REPAIRING_SECONDS: Final = 75.0
"""Yellow is what is being repaired: a run that follows evaluates once a minute, and its next word may be green."""
_SYNCING_SECONDS: Final = 30.0
"""A node that is a little behind the others catches up within moments."""
_LOOKED_AT_HERE: Final = frozenset({fresh.FRESH, stall.STALL})


def read_checks(instance: DagsterInstance, copies: Iterable[Names], ui_url: str) -> Reading:
    """Every check of these copies whose newest result did not pass, but those of freshness that are looked at anew."""
    specs = {
        AssetCheckKey(names.key(spec.asset_key), spec.name): (names, spec)
        for names in copies
        for spec in _specs_of(names)
    }
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(specs))
    found: list[Condition] = []
    for key, record in newest.items():
        # A result that is announced only says nothing yet: the one before it holds.
        evaluated = record if record.status in _EVALUATED else newest_evaluated(instance, key)
        if evaluated is None or evaluated.evaluation is None or evaluated.evaluation.passed:
            continue
        one = evaluated.evaluation
        after_seconds = _TWICE_SECONDS if one.severity is AssetCheckSeverity.ERROR else _REPAIRING_SECONDS
        names, spec = specs[key]
        said = one.severity, one.description
        found.append(_condition("check", names, spec, *said, ui_url, after_seconds=after_seconds))
    return Reading(tuple(found))


def _specs_of(names: Names) -> Iterator[AssetCheckSpec]:
    """Of a prefixed copy, whose replica only its own processes can open, freshness is what these have found last."""
    for checks in ALL_CHECKS:
        for spec in checks.check_specs:
            if names.are_prefixed or spec.name not in _LOOKED_AT_HERE:
                yield spec


def read_freshness(settings: Settings, ui_url: str, watched_seconds: float) -> Reading:
    """Whether the replica is as fresh as the hub and progresses, by the ledger; unread where no hub answers.

    A hub that answers and is refused, because it is behind or of another history, is a condition of its own: runs and
    sensors wait for it without failing.
    """
    try:
        with open_replica_to_read(with_running(settings), may_be_empty=True, may_be_another_lake=True) as replica:
            return merged(_freshness_readings(replica, ui_url, watched_seconds))
    except NothingYet:
        return Reading()


def _freshness_readings(replica: Replica, ui_url: str, watched_seconds: float) -> Iterator[Reading]:
    looks: list[tuple[str, AssetCheckSpec, Callable[[], AssetCheckResult], float]] = [
        ("fresh", fresh.FRESH_SPEC, lambda: fresh.result_of(health.freshness(replica)), _SETTLING_SECONDS),
        ("stall", stall.STALL_SPEC, lambda: _stall_result(replica, watched_seconds), 0.0),
    ]
    for area, spec, look, after_seconds in looks:
        try:
            result = look()
        except HubUntrusted as error:
            yield Reading((_untrusted(error),), frozenset({area}))
        except HubError:  # hubs that do not answer are looked at by themselves
            yield Reading(unread=frozenset({area, "trust"}))
        else:
            said = result.severity, result.description
            found = _condition(area, Names(), spec, *said, ui_url, after_seconds=after_seconds)
            yield Reading(() if result.passed else (found,))


def _stall_result(replica: Replica, watched_seconds: float) -> AssetCheckResult:
    return stall.result_of(detect_stall(replica, watched_seconds=watched_seconds))


def _untrusted(error: HubUntrusted) -> Condition:
    return Condition(
        "trust:hub",
        Severity.RED,
        "no hub can be followed",
        detail=error.message,
        remedy=error.hint or "name another hub in FC_HUB_URLS",
        runbook="docs/checks.md#red-runs-sensors-and-commands",
        after_seconds=_SYNCING_SECONDS,
    )


def _condition(
    area: str,
    names: Names,
    spec: AssetCheckSpec,
    severity: AssetCheckSeverity,
    description: str | None,
    ui_url: str,
    *,
    after_seconds: float = 0.0,
) -> Condition:
    asset = names.key(spec.asset_key).to_user_string()
    return Condition(
        f"{area}:{asset}/{spec.name}",
        Severity.RED if severity is AssetCheckSeverity.ERROR else Severity.YELLOW,
        f"check {spec.name} of {asset}",
        detail=description or "",
        remedy=remedy_in(names, remedy_of(spec)),
        runbook=runbook_of(spec),
        link=f"{ui_url}/assets/{asset}?view=checks" if ui_url else "",
        after_seconds=after_seconds,
    )
