"""The checks of the raw log as a whole: is it complete, new, as it was written, and understood?"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, multi_asset_check

from fc_pipeline.errors import LakeError
from fc_pipeline.feed.lost_log import LostLog
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour, span_of
from fc_pipeline.orchestration.checks.fresh import FRESH, FRESH_SPEC, evaluate_freshness
from fc_pipeline.orchestration.checks.gaps import GAPS_SPEC, NO_OPEN_GAPS, evaluate_gaps
from fc_pipeline.orchestration.checks.quarantined import (
    QUARANTINE_SHARE,
    QUARANTINE_SPEC,
    UNKNOWN_TYPES,
    UNKNOWN_TYPES_SPEC,
    evaluate_quarantine_share,
    evaluate_unknown_types,
)
from fc_pipeline.orchestration.checks.stall import STALL, STALL_SPEC, evaluate_stall
from fc_pipeline.orchestration.checks.volume import VOLUME, VOLUME_SPEC, evaluate_volume
from fc_pipeline.orchestration.checks.wording import (
    MAX_ROWS,
    check_spec,
    heights_of,
    materializing,
    table_of,
    with_remedy,
)
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.replica import Replica
from fc_pipeline.status import by_hour
from fc_pipeline.status.log_files import READ_BYTES, LogFindings, find_lost_log

__all__ = [
    "BLOCK_EVENTS",
    "COVERAGE",
    "FILES",
    "evaluate_coverage",
    "evaluate_files",
    "evaluate_raw_log",
    "raw_log_checks",
]

COVERAGE = "coverage_without_holes"
BLOCK_EVENTS = "blocks_have_their_events"
FILES = "files_as_written"

USUAL_UNSENT_SHARE = 0.01
"""Hubs announce key events that their feed does not have (hub-api T10): this share missing is normal."""
_MAX_NAMED = 5

_SPECS = (
    FRESH_SPEC,
    STALL_SPEC,
    GAPS_SPEC,
    check_spec(
        RAW_LOG,
        COVERAGE,
        "Every block from where the replica begins to its newest one is in the ledger or was healed by snapshots, for "
        "every shard. Yellow: blocks are missing, and runs are filling the hole or were just launched for it. A run "
        "that leaves a hole in its own hour fails besides.",
        "`fc-pipeline sync`, or materialise hub_events for the hours named. Blocks that no hub has any more are in "
        "pipeline.gaps, see no_open_gaps.",
    ),
    check_spec(
        RAW_LOG,
        BLOCK_EVENTS,
        "As many events were read of every hour as its BLOCK_CONFIRMED announced. Red: more, so blocks came twice with "
        f"different content. Yellow: fewer by more than {USUAL_UNSENT_SHARE:.0%}; hubs announce some that their feed "
        "does not have.",
        "`fc-pipeline verify --sample 1000` says whether any row is wrong, `fc-pipeline backfill --fids …` puts the "
        "users named right.",
    ),
    check_spec(
        RAW_LOG,
        FILES,
        "The raw log's files are there for every height of the ledger, with the length that they were written with; "
        f"of the newest finished hours {READ_BYTES // 2**20} MB are read and must have their checksums. The tables "
        "are right all the same, but cannot be rebuilt from what is lost.",
        "materialise hub_events for the hours named while a hub still has them (about three days), or put the files "
        "back from a copy of the lake.",
    ),
    QUARANTINE_SPEC,
    UNKNOWN_TYPES_SPEC,
    VOLUME_SPEC,
)


@multi_asset_check(name="raw_log_checks", specs=_SPECS, can_subset=True)
def raw_log_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Evaluate the raw log as a whole now."""
    selected = {key.name for key in context.selected_asset_check_keys}
    with failing_step(), replica.open(need_hub=bool(selected & {FRESH, STALL})) as opened:
        for name in selected:
            yield _EVALUATORS[name](opened)


def evaluate_raw_log(replica: Replica) -> Iterator[AssetCheckResult]:
    """All checks but that of the files, which may take long; a run that follows evaluates them from time to time."""
    for name, evaluate in _EVALUATORS.items():
        if name != FILES:
            yield evaluate(replica)


def evaluate_coverage(replica: Replica) -> AssetCheckResult:
    """Holes in the ledger, by hour."""
    found = by_hour.find_holes(replica)
    is_being_filled = all(hole.is_being_filled for hole in found.holes)
    description = None
    if found.holes:
        first = found.holes[0]
        description = (
            f"{found.missing_blocks:,} blocks are missing: shard {first.shard} lacks "
            f"{heights_of(first.heights.first, first.heights.last)} in {span_of(first.first_hour, first.last_hour)}"
        ) + (f", and {len(found.holes) - 1} more holes" if len(found.holes) > 1 else "")
        of_first = materializing(RAW_LOG, (first.first_hour, first.last_hour))
        description = (
            f"{description}. Runs are filling them"
            if is_being_filled
            else with_remedy(description, f"fc-pipeline sync, or {of_first}")
        )
    elif found.blocks_by_snapshots:
        description = (
            f"{found.blocks_by_snapshots} blocks are known by snapshots only: their events are not in the raw log, "
            "nor counted in fid_activity"
        )
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=COVERAGE,
        passed=not found.holes,
        severity=AssetCheckSeverity.WARN if is_being_filled else AssetCheckSeverity.ERROR,
        description=description,
        metadata={
            "hours": found.hours,
            "blocks": found.blocks,
            "missing_blocks": found.missing_blocks,
            "blocks_by_snapshots": found.blocks_by_snapshots,
            "holes_by_shard": _by_shard(found),
            "holes": table_of(
                (
                    {
                        "hour": span_of(hole.first_hour, hole.last_hour),
                        "shard": hole.shard,
                        "heights": heights_of(hole.heights.first, hole.heights.last),
                        "being_filled": hole.is_being_filled,
                    }
                    for hole in sorted(found.holes, key=lambda hole: hole.is_being_filled)
                ),
                ("hour", "shard", "heights", "being_filled"),
            ),
        },
    )


def _by_shard(found: by_hour.Coverage) -> dict[str, list[str]]:
    holes: dict[str, list[str]] = {}
    for hole in found.holes[:MAX_ROWS]:
        holes.setdefault(str(hole.shard), []).append(f"{hole.heights.first}-{hole.heights.last}")
    return holes


def evaluate_block_events(replica: Replica) -> AssetCheckResult:
    """Events read compared with events announced, by hour."""
    different, events, confirmed = by_hour.event_counts(replica)
    more = [one for one in different if one.events > one.confirmed_events]
    fewer = [one for one in different if one.events < one.confirmed_events * (1 - USUAL_UNSENT_SHARE)]
    wrong = [*more, *fewer]
    description = None
    if wrong:
        worst = wrong[0]
        description = with_remedy(
            f"shard {worst.shard} has {worst.events:,} events in {worst.hour}, and {worst.confirmed_events:,} were "
            f"announced; {len(wrong)} hours and shards differ",
            "fc-pipeline verify --sample 1000 says whether any row is wrong, and how to mend it",
        )
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=BLOCK_EVENTS,
        passed=not wrong,
        severity=AssetCheckSeverity.ERROR if more else AssetCheckSeverity.WARN,
        description=description,
        metadata={
            "events": events,
            "confirmed_events": confirmed,
            "hours_that_differ": len(different),
            "hours": table_of(
                (
                    {"hour": o.hour, "shard": o.shard, "events": o.events, "confirmed_events": o.confirmed_events}
                    for o in [*wrong, *(one for one in different if one not in wrong)]
                ),
                ("hour", "shard", "events", "confirmed_events"),
            ),
        },
    )


def evaluate_files(replica: Replica, *, read_bytes: int = READ_BYTES) -> AssetCheckResult:
    """Whether the raw log lost anything: files that are missing, truncated or, as far as they are read, changed."""
    try:
        found = find_lost_log(replica, read_bytes=read_bytes)
    except (LakeError, OSError) as error:
        description = with_remedy(
            f"the raw log cannot be listed: {error}", "fc-pipeline lake show says which lake it is"
        )
        return AssetCheckResult(asset_key=RAW_LOG, check_name=FILES, passed=False, description=description)
    return AssetCheckResult(
        asset_key=RAW_LOG,
        check_name=FILES,
        passed=not found.lost,
        description=_describe_files(found) if found.lost else None,
        metadata={
            "files": found.files,
            "files_read": found.files_read,
            "hours_with_losses": len({hour for hour, _ in found.lost}),
            "losses": table_of(
                (
                    {"hour": hour.key, "shard": shard, "lost": "; ".join(_losses(lost))}
                    for (hour, shard), lost in sorted(found.lost.items(), key=lambda one: one[0], reverse=True)
                ),
                ("hour", "shard", "lost"),
            ),
        },
    )


def _losses(lost: LostLog) -> list[str]:
    problems = [f"{file.path}: {problem}" for file, problem in lost.damaged.items()]
    heights = ", ".join(heights_of(one.first, one.last) for one in lost.heights)
    return [*problems, f"heights {heights} are in no whole file"] if heights else problems


def _describe_files(found: LogFindings) -> str:
    newest_first: list[tuple[tuple[Hour, int], LostLog]] = sorted(found.lost.items(), key=lambda o: o[0], reverse=True)
    problems = [f"{path}: {problem}" for _, lost in newest_first for path, problem in _paths(lost).items()]
    problems += [
        f"shard {shard} lacks heights {', '.join(heights_of(h.first, h.last) for h in lost.heights)} in {hour.key}"
        for (hour, shard), lost in newest_first
        if lost.heights
    ]
    more = [f"and {len(problems) - _MAX_NAMED} more"] if len(problems) > _MAX_NAMED else []
    return with_remedy(
        f"{'; '.join([*problems[:_MAX_NAMED], *more])}. The tables are right, but cannot be rebuilt from that",
        f"{materializing(RAW_LOG, {hour.key for (hour, _), _ in newest_first})} while a hub still has these blocks, or "
        "put the files back from a copy of the lake",
    )


def _paths(lost: LostLog) -> dict[str, str]:
    return {file.path: problem for file, problem in lost.damaged.items()}


_EVALUATORS: Mapping[str, Callable[[Replica], AssetCheckResult]] = {
    FRESH: evaluate_freshness,
    STALL: evaluate_stall,
    NO_OPEN_GAPS: evaluate_gaps,
    COVERAGE: evaluate_coverage,
    BLOCK_EVENTS: evaluate_block_events,
    FILES: evaluate_files,
    QUARANTINE_SHARE: evaluate_quarantine_share,
    UNKNOWN_TYPES: evaluate_unknown_types,
    VOLUME: evaluate_volume,
}
