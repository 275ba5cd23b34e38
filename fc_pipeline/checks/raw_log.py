"""Checks of an hour of the raw log: is it complete, has it what its blocks announced, is it understood."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

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

__all__ = ["COVERAGE", "judge_files", "judge_raw_log", "raw_log_checks"]

COVERAGE = "coverage_without_holes"

_MOST_NAMED = 5
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
    _spec(
        "files_as_written",
        "The raw log's files of the hour are there, for every height of the ledger, and as they were written. Executed "
        "from the UI, it reads every file; a run looks at their presence and length.",
    ),
    _spec("no_unknown_types", "No event or message of the hour is of a type that this release does not know."),
]


@multi_asset_check(name="raw_log_checks", specs=_SPECS, can_subset=True)
def raw_log_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Judge hours again; every run of the hourly assets does so for the hours it touched."""
    hours = hours_of_run(context)
    selected = {key.name for key in context.selected_asset_check_keys}
    with replica.open() as opened:
        for result in judge_raw_log(opened, hours, reading="files_as_written" in selected):
            if result.check_name in selected:
                yield result


def judge_raw_log(replica: Replica, hours: Sequence[Hour], *, reading: bool = False) -> Iterator[AssetCheckResult]:
    """The results of all checks of the raw log for adjacent hours; with `reading`, its files are read for them."""
    yield _coverage(replica, hours)
    yield _block_counts(replica, hours)
    yield judge_files(replica, hours, reading=reading)
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


def judge_files(replica: Replica, hours: Sequence[Hour], *, reading: bool) -> AssetCheckResult:
    """Whether the raw log has lost anything of these hours: files that are gone, cut short or, if read, changed."""
    lost = health.lost_of(replica, hours, reading=reading)
    damaged = {file.path: problem for one in lost.values() for file, problem in one.damaged.items()}
    heights = {str(shard): [f"{h.first}-{h.last}" for h in one.heights] for shard, one in lost.items() if one.heights}
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name="files_as_written",
        passed=not lost,
        description=_said_of_files(damaged, heights, hours) if lost else None,
        metadata={"damaged_files": damaged, "lost_heights_by_shard": heights, "files_read": reading},
    )


def _said_of_files(damaged: Mapping[str, str], heights: Mapping[str, Sequence[str]], hours: Sequence[Hour]) -> str:
    said = [f"{path}: {problem}" for path, problem in damaged.items()]
    said += [f"shard {shard} lacks heights {', '.join(ranges)}" for shard, ranges in heights.items()]
    more = [f"and {len(said) - _MOST_NAMED} more"] if len(said) > _MOST_NAMED else []
    named = "; ".join([*said[:_MOST_NAMED], *more])
    span = hours[0].key if len(hours) == 1 else f"{hours[0].key} to {hours[-1].key}"
    return (
        f"{named}. The tables are right, but cannot be made anew from that. Materialise hub_events for {span} "
        "while a hub still has these blocks, or put the files back from a copy of the lake."
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
