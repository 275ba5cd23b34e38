"""`fc-pipeline sync`: catch up to the hub's head and end. The same run that Dagster would launch, in this process."""

import json
import signal
import sys
import warnings
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fc_pipeline.cli.backfill import counted
from fc_pipeline.config.project import dagster_home
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.services import close_services_for_process, open_services

if TYPE_CHECKING:
    from fc_pipeline.feed.goal import Goal
    from fc_pipeline.replica import Replica

__all__ = ["sync"]


def sync(
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Catch up to the hub's head and end; exit code 0 only if coverage has no hole."""
    warnings.filterwarnings("ignore", module="fc_pipeline")  # Dagster says "preview" of what the assets use
    settings = Settings.load()
    # As Ctrl-C: the run is recorded as ended, and the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with open_services(settings, need_redis=None) as opened:
        from fc_pipeline.feed.goal import Goal
        from fc_pipeline.replica import open_replica
        from fc_pipeline.store import bulk_load, later_indexes

        with open_replica(opened) as replica:
            with replica.engine.connect() as connection:
                bulk_load.refuse_under_way(lambda statement: connection.exec_driver_sql(statement).all())
            if replica.targets is not None:
                from fc_pipeline.repair.targets import adopt_settings
                from fc_pipeline.targets import coherence

                coherence.repair_at_start(replica.engine, opened.redis_url)
                adopt_settings(replica)  # errors in them are reported before any work
            goal = Goal.now(replica)
            missing_before = goal.missing_blocks()
            missing = _catch_up(goal, missing_before, quiet=as_json) if missing_before else 0
            by_snapshots = goal.blocks_by_snapshots()
            waiting = _complete_targets(replica) if replica.targets is not None else 0
            _read_keys(replica)
            if not missing:
                later_indexes.make(replica.engine)
    read = missing_before - missing
    if as_json:
        outcome = {
            "complete": missing == 0,
            "blocks_read": read,
            "blocks_missing": missing,
            "blocks_by_snapshots": by_snapshots,
        }
        if opened.targets == "set":
            outcome["targets_without_history"] = waiting
        sys.stdout.write(json.dumps(outcome) + "\n")
    elif not missing:
        console = Console(highlight=False)
        console.print(f"in step with the hub: {read:,} blocks read, coverage has no hole")
        if by_snapshots:
            console.print(
                f"{by_snapshots:,} blocks are known by snapshots only: their events are not in the raw log, "
                "nor counted in fid_activity"
            )
    if missing:
        raise ServiceError(
            f"coverage has holes: {missing:,} blocks are missing",
            hint="`fc-pipeline status` shows where; what the feed no longer has, `fc-pipeline backfill --gaps` heals",
        )
    if waiting:
        raise ServiceError(
            f"{counted(waiting, 'target')} without a complete history yet",
            hint="`fc-pipeline targets list` says why; run `sync` again, or leave it to `up`",
        )


def _complete_targets(replica: "Replica") -> int:
    """Fetch new targets' histories by a run like the sensor's; returns how many still lack theirs."""
    from fc_pipeline.repair.targets import is_anything_due
    from fc_pipeline.targets import directory

    if not is_anything_due(replica):
        return 0
    from fc_pipeline.cli.complete_targets import complete_targets  # importing Dagster takes seconds

    try:
        complete_targets(dagster_home())
    finally:
        close_services_for_process()
    with replica.engine.connect() as connection:
        return directory.numbers(connection).unsynced


def _read_keys(replica: "Replica") -> None:
    """Read the gasless keys that messages wait for, by a run like the sensor's."""
    from fc_pipeline.repair.keys import is_anything_due

    if not is_anything_due(replica):
        return
    from fc_pipeline.cli.read_keys import read_due_keys  # importing Dagster takes seconds

    try:
        read_due_keys(dagster_home())
    finally:
        close_services_for_process()


def _catch_up(goal: "Goal", missing: int, *, quiet: bool) -> int:
    """Catch up with a progress bar; returns how many blocks are missing then."""
    from fc_pipeline.cli.catch_up import catch_up  # importing Dagster takes seconds

    columns = (TextColumn("folding"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True, quiet=quiet)) as progress:
            bar = progress.add_task("blocks", total=missing)
            return catch_up(goal, dagster_home(), lambda left: progress.update(bar, completed=missing - left))
    finally:
        close_services_for_process()
