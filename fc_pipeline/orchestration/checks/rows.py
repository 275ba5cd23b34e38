"""Are the tables what the raw log says? Evaluated by folding the newest finished hours of the log again, in Arrow.

Leaves that are no rows of a table have no asset: what is found of them is said of the one whose users are compared.
"""

from collections.abc import Iterable, Iterator

from dagster import AssetCheckExecutionContext, AssetCheckResult, AssetCheckSeverity, multi_asset_check

from fc_pipeline.feed.outputs import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.checks.wording import check_spec, materializing, table_of, with_remedy
from fc_pipeline.orchestration.failures import failing_step
from fc_pipeline.orchestration.names import bare
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.reconcile.expected_rows import COMPARED_TABLES
from fc_pipeline.reconcile.log_comparison import MAX_EVENTS, compare_with_log
from fc_pipeline.reconcile.log_differences import LogComparison, TableComparison
from fc_pipeline.replica import Replica
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline.tables.other_leaves import OTHER_LEAVES
from fc_pipeline.tables.registry import DERIVED_TABLES

__all__ = ["ROWS_MATCH_LOG", "evaluate_rows", "row_checks"]

ROWS_MATCH_LOG = "rows_match_log"

_ASSETS = {OTHER_LEAVES.name: "reconciled_fids"}
"""The assets of tables that are none; all others are assets of their own."""
_MADE_WITH = {OTHER_LEAVES.name: "casts"}
"""The asset that is materialised to correct a table: with any of an hour's tables all of its leaves are."""

_SOURCES = {one.name: one.sources for one in DERIVED_TABLES}
_HOURS = f"of the newest finished hours (one at least, {MAX_EVENTS:,} events at most)"


def _holds(name: str) -> str:
    if name in _SOURCES:
        return f"The rows that events {_HOURS} may have changed are what {', '.join(_SOURCES[name])} say."
    if name == FID_ACTIVITY.name:
        return f"The counts {_HOURS} are those of the events in the raw log, counted again."
    if name == OTHER_LEAVES.name:
        return (
            f"Every leaf in pipeline.other_leaves (removes, compact states, proofs, lends, …) that events {_HOURS} "
            "decided is there as the raw log says, and none claims an event that the log does not have. Red: somebody "
            "deleted, changed or invented some; no root can be proved then."
        )
    return (
        f"Every row that events {_HOURS} decided is there as the raw log says, in all columns, tombstones included, "
        "and no row claims an event that the log does not have. Red: somebody deleted, changed or invented rows. "
        "With FC_TARGETS=set, rows are missed only of targets whose history is complete."
    )


@multi_asset_check(
    name="row_checks",
    specs=[
        check_spec(
            _ASSETS.get(name, name),
            ROWS_MATCH_LOG,
            _holds(name),
            f"materialise {_MADE_WITH.get(name, name)} for the hours named: that makes their rows what the raw log "
            "says, without a hub. Then find out who writes to the table.",
        )
        for name in COMPARED_TABLES
    ],
    can_subset=True,
)
def row_checks(context: AssetCheckExecutionContext, replica: ReplicaResource) -> Iterable[AssetCheckResult]:
    """Evaluate the selected tables now, in one pass over the log."""
    with failing_step(), replica.open(need_hub=False) as opened:
        selected = {bare(key.asset_key) for key in context.selected_asset_check_keys}
        yield from evaluate_rows(opened, [name for name in COMPARED_TABLES if _ASSETS.get(name, name) in selected])


def evaluate_rows(replica: Replica, tables: Iterable[str]) -> Iterator[AssetCheckResult]:
    """One result per table."""
    found = compare_with_log(replica, tuple(tables))
    for name, table in found.tables.items():
        yield _evaluated(name, table, found)


def _evaluated(name: str, table: TableComparison, found: LogComparison) -> AssetCheckResult:
    unread = sorted({hour.key for hour, _ in found.unread})
    description = None
    if table.wrong:
        description = _describe(name, table, max(found.hours))
    elif unread:
        finding = f"the raw log cannot be read of {', '.join(unread)}: these hours are not checked"
        description = with_remedy(finding, materializing(RAW_LOG, unread))
    elif not found.hours:
        description = "no hour is over yet: there is nothing to compare"
    return AssetCheckResult(
        asset_key=_ASSETS.get(name, name),
        check_name=ROWS_MATCH_LOG,
        passed=not table.wrong and not unread,
        severity=AssetCheckSeverity.ERROR if table.wrong else AssetCheckSeverity.WARN,
        description=description,
        metadata={
            "wrong_rows": table.wrong,
            "rows_compared": table.rows,
            "events_compared": found.events,
            "hours_compared": len(found.hours),
            "oldest_hour": min(found.hours).key if found.hours else "none",
            "newest_hour": max(found.hours).key if found.hours else "none",
            "seconds": round(found.seconds, 1),
            "hours": table_of(
                (
                    {
                        "hour": one.hour.key if one.hour else "none",
                        "missing": one.missing,
                        "changed": one.changed,
                        "invented": one.invented,
                        "example": one.example,
                    }
                    for one in sorted(table.differences, key=lambda one: -one.rows)
                ),
                ("hour", "missing", "changed", "invented", "example"),
            ),
        },
    )


def _describe(name: str, table: TableComparison, newest: Hour) -> str:
    kinds = {kind: sum(getattr(one, kind) for one in table.differences) for kind in ("missing", "changed", "invented")}
    counts = ", ".join(f"{rows:,} {kind}" for kind, rows in kinds.items() if rows)
    hours = sorted({one.hour.key for one in table.differences if one.hour is not None})
    where = (
        hours[0] if len(hours) == 1 else f"{len(hours)} hours from {hours[0]} to {hours[-1]}" if hours else "no hour"
    )
    # Rows of no hour are repaired with any, such as the newest.
    return with_remedy(
        f"{table.wrong:,} rows are not as the raw log has them ({counts}), in {where}",
        materializing(_MADE_WITH.get(name, name), hours or [newest.key]),
    )
