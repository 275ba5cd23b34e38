"""Checks of an hour of the raw log: is it complete, has it what its blocks announced, is it understood."""

from collections.abc import Iterable, Iterator, Sequence

from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetCheckSeverity,
    AssetCheckSpec,
    multi_asset_check,
)

from fc_pipeline.hours import Hour
from fc_pipeline.ingest import health
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.run import RAW_LOG
from fc_pipeline.partitions import HOURS, hours_of_run
from fc_pipeline.resources import ReplicaResource

__all__ = ["COVERAGE", "judge_raw_log", "raw_log_checks"]

COVERAGE = "coverage_without_holes"

MOST_QUARANTINED_SHARE = 0.01
"""Above this share of set-aside events the pipeline no longer understands the network: red."""


def _spec(name: str, description: str, *, blocking: bool = False) -> AssetCheckSpec:
    return AssetCheckSpec(name, asset=RAW_LOG, description=description, blocking=blocking, partitions_def=HOURS)


_SPECS = [
    _spec(
        COVERAGE, "Every block of the hour is in the ledger or was healed by snapshots, for every shard.", blocking=True
    ),
    _spec("blocks_have_their_events", "As many events were read as the hour's BLOCK_CONFIRMED announced."),
    _spec("quarantine_share", f"At most {MOST_QUARANTINED_SHARE:.0%} of the hour's events are in quarantine."),
    _spec("no_unknown_types", "No event or message of the hour is of a type that this release does not know."),
]


@multi_asset_check(name="raw_log_checks", specs=_SPECS, can_subset=True)
def raw_log_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Judge hours again; every run of the hourly assets does so for the hours it touched."""
    hours = hours_of_run(context)
    selected = {key.name for key in context.selected_asset_check_keys}
    with replica.open() as opened:
        for result in judge_raw_log(opened, hours):
            if result.check_name in selected:
                yield result


def judge_raw_log(replica: Replica, hours: Sequence[Hour]) -> Iterator[AssetCheckResult]:
    """The results of all checks of the raw log for adjacent hours."""
    yield _coverage(replica, hours)
    yield _block_counts(replica, hours)
    quarantine = health.quarantine_of(replica, hours)
    yield _quarantine_share(quarantine)
    yield _unknown_types(quarantine)


def _coverage(replica: Replica, hours: Sequence[Hour]) -> AssetCheckResult:
    finding = health.coverage_of_hours(replica, hours)
    holes = {str(shard): [f"{h.first}-{h.last}" for h in found] for shard, found in finding.holes.items() if found}
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=COVERAGE,
        passed=not finding.missing_blocks,
        description=_said(finding),
        metadata={
            "blocks": finding.covered_blocks,
            "missing_blocks": finding.missing_blocks,
            "blocks_by_snapshots": finding.blocks_by_snapshots,
            "holes_by_shard": holes,
            "bounds_known": finding.bounds_known,
        },
    )


def _said(finding: health.CoverageFinding) -> str | None:
    if finding.missing_blocks:
        return f"{finding.missing_blocks} blocks are missing"
    if finding.blocks_by_snapshots:
        return (
            f"{finding.blocks_by_snapshots} blocks are known by snapshots only: their events are not in the raw log, "
            "nor counted in fid_activity"
        )
    return None


def _block_counts(replica: Replica, hours: Sequence[Hour]) -> AssetCheckResult:
    counts = health.block_counts(replica, hours)
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name="blocks_have_their_events",
        passed=counts.events == counts.confirmed_events,
        # KEY_ADD and KEY_REMOVE are announced but not in the feed (hub-api T10), so fewer events are no proof of loss.
        severity=AssetCheckSeverity.WARN if counts.events < counts.confirmed_events else AssetCheckSeverity.ERROR,
        metadata={"events": counts.events, "confirmed_events": counts.confirmed_events},
    )


def _quarantine_share(finding: health.QuarantineFinding) -> AssetCheckResult:
    share = finding.set_aside / finding.events if finding.events else 0.0
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name="quarantine_share",
        passed=share <= MOST_QUARANTINED_SHARE,
        metadata={"share": share, "set_aside": finding.set_aside, "by_reason": finding.by_reason},
    )


def _unknown_types(finding: health.QuarantineFinding) -> AssetCheckResult:
    unknown = finding.by_reason.get("unknown_type", 0)
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name="no_unknown_types",
        passed=not unknown,
        severity=AssetCheckSeverity.WARN,
        description="a newer fc_pipeline may know them; they are kept in quarantine" if unknown else None,
        metadata={"unknown_types": unknown},
    )
