"""The checks of what is in quarantine: is the network understood?"""

from dagster import AssetCheckResult, AssetCheckSeverity

from fc_pipeline.feed.outputs import RAW_LOG
from fc_pipeline.orchestration.checks.wording import check_spec, table_of, with_remedy
from fc_pipeline.replica import Replica
from fc_pipeline.status import by_hour

__all__ = [
    "MAX_QUARANTINED_SHARE",
    "QUARANTINE_SHARE",
    "QUARANTINE_SPEC",
    "UNKNOWN_TYPES",
    "UNKNOWN_TYPES_SPEC",
    "evaluate_quarantine_share",
    "evaluate_unknown_types",
]

QUARANTINE_SHARE = "quarantine_share"
UNKNOWN_TYPES = "no_unknown_types"

MAX_QUARANTINED_SHARE = 0.01
"""Above this share of an hour's events the check is red: this release does not understand the network."""

QUARANTINE_SPEC = check_spec(
    RAW_LOG,
    QUARANTINE_SHARE,
    f"At most {MAX_QUARANTINED_SHARE:.0%} of any hour's events are in quarantine, unresolved.",
    "`fc-pipeline quarantine list` shows what and why. Examples that are no JSON: another hub in FC_HUB_URLS. "
    "Sound ones: upgrade fc_pipeline, then `fc-pipeline quarantine replay`.",
)
UNKNOWN_TYPES_SPEC = check_spec(
    RAW_LOG,
    UNKNOWN_TYPES,
    "No event or message is in quarantine because this release does not know its type. Yellow: there are some; "
    "everything else is complete.",
    "upgrade fc_pipeline, then `fc-pipeline quarantine replay`.",
)


def evaluate_quarantine_share(replica: Replica) -> AssetCheckResult:
    """Quarantined records by hour, the largest share first."""
    hours = by_hour.quarantine_by_hour(replica)
    worst = hours[0] if hours else None
    share = worst.share if worst else 0.0
    is_too_much = share > MAX_QUARANTINED_SHARE
    description = None
    if worst is not None and is_too_much:
        reasons = "".join(f" --reason {reason}" for reason in sorted(worst.by_reason))
        description = with_remedy(
            f"{share:.1%} of the events of {worst.hour} are quarantined",
            f"fc-pipeline quarantine list{reasons} says why; after an upgrade, fc-pipeline quarantine replay{reasons}",
        )
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=QUARANTINE_SHARE,
        passed=not is_too_much,
        description=description,
        metadata={
            "share_percent": round(share * 100, 4),
            "by_reason": dict(worst.by_reason) if worst else {},
            "set_aside": sum(one.quarantined for one in hours),
            "hours": table_of(
                (
                    {
                        "hour": one.hour,
                        "share_percent": round(one.share * 100, 4),
                        "set_aside": one.quarantined,
                        "events": one.events,
                        "by_reason": ", ".join(f"{reason} {n:,}" for reason, n in sorted(one.by_reason.items())),
                    }
                    for one in hours
                ),
                ("hour", "share_percent", "set_aside", "events", "by_reason"),
            ),
        },
    )


def evaluate_unknown_types(replica: Replica) -> AssetCheckResult:
    """Event types that this release does not know, the most frequent first."""
    types = by_hour.unknown_types(replica)
    unknown = sum(one.records for one in types)
    finding = f"{unknown:,} records are of types that this release does not know; they are kept in quarantine"
    remedy = (
        "upgrade to a newer fc_pipeline, which may know them, then fc-pipeline quarantine replay --reason unknown_type"
    )
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=UNKNOWN_TYPES,
        passed=not unknown,
        severity=AssetCheckSeverity.WARN,
        description=with_remedy(finding, remedy) if unknown else None,
        metadata={
            "unknown_types": unknown,
            "types": table_of(
                (
                    {"what": o.detail, "records": o.records, "first_seen": o.first_seen, "last_seen": o.last_seen}
                    for o in types
                ),
                ("what", "records", "first_seen", "last_seen"),
            ),
        },
    )
