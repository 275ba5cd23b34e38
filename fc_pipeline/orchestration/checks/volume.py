"""Does the hub serve as many events of each type as it usually does at this hour?"""

from dagster import AssetCheckResult, AssetCheckSeverity

from fc_pipeline.feed.outputs import RAW_LOG
from fc_pipeline.hours import HOUR_SECONDS
from fc_pipeline.orchestration.checks.wording import check_spec, table_of, with_remedy
from fc_pipeline.replica import Replica
from fc_pipeline.status.usual import Level
from fc_pipeline.status.volume import JUDGED_AFTER_SECONDS, TypeVolume, Volume, compare_volume

__all__ = ["VOLUME", "VOLUME_SPEC", "evaluate_volume"]

VOLUME = "usual_volume"

_REMEDY = (
    "compare with another hub, FC_HUB_URLS=… fc-pipeline verify --sample 1000; if rows differ, name it first in "
    "FC_HUB_URLS, restart up, and fc-pipeline backfill --all"
)

VOLUME_SPEC = check_spec(
    RAW_LOG,
    VOLUME,
    "The running hour, from its "
    f"{JUDGED_AFTER_SECONDS // 60}th minute on, and the last one that ended have as many events of each type as the "
    "same hours of the past four weeks (before there are three weeks: of the past days; before there are four days, "
    "nothing is compared). Red: a type has about half as many or fewer, which is what a hub does that serves only part "
    "of it. Yellow: clearly fewer, or many times more.",
    "compare with another hub: `FC_HUB_URLS=… fc-pipeline verify --sample 1000`. If rows differ, name it first in "
    "FC_HUB_URLS, restart up, and `fc-pipeline backfill --all`.",
)


def evaluate_volume(replica: Replica) -> AssetCheckResult:
    """The newest hours by type, from the counts of the fold."""
    found = compare_volume(replica)
    unusual = found.unusual
    is_halved = any(one.level is Level.HALVED for one in unusual)
    columns = ("hour", "minutes", "type", "events", "usual", "compared_with", "level")
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=VOLUME,
        passed=not unusual,
        severity=AssetCheckSeverity.ERROR if is_halved else AssetCheckSeverity.WARN,
        description=_described(found),
        metadata={
            "types_compared": len({one.event_type for one in found.types}),
            "types_unusual": len({one.event_type for one in unusual}),
            "types": table_of((dict(zip(columns, _cells(one), strict=True)) for one in found.types), columns),
        },
    )


def _described(found: Volume) -> str | None:
    unusual = sorted(found.unusual, key=lambda one: one.level is not Level.HALVED)
    if unusual:
        more = f"; {len(unusual) - 1} more, see the table" if len(unusual) > 1 else ""
        return with_remedy(f"{_sentence(unusual[0])}{more}", f"{_REMEDY}. See docs/checks.md#{VOLUME}")
    if found.types:
        return None
    if not found.hours:
        return "nothing is compared: the newest hours are not in the ledger from their beginning on"
    return "nothing is compared yet: the same hour of four days must have been counted before"


def _sentence(one: TypeVolume) -> str:
    until = "" if one.seconds >= HOUR_SECONDS else f" in its first {one.seconds // 60:.0f} minutes"
    return (
        f"{one.event_type} of {one.hour.key}: {one.events:,} events{until}, where {one.usual:,.0f} are usual at this "
        f"hour of the {'week' if one.by_weekday else 'day'}"
    )


def _cells(one: TypeVolume) -> tuple[object, ...]:
    hours = "hours of the week" if one.by_weekday else "hours of the day"
    return one.hour.key, round(one.seconds / 60), one.event_type, one.events, round(one.usual), hours, one.level.value
