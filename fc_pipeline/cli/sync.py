"""`fc-pipeline sync`: catch up to the hub's head and end. The same run that Dagster would launch, in this process."""

import json
import signal
import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fc_pipeline.errors import ServiceError
from fc_pipeline.services import close_services_for_process, open_services
from fc_pipeline.settings import Settings, project_root

__all__ = ["sync"]


def sync(
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, for programs.")] = False,
) -> None:
    """Catch up to the hub's head and end; exit code 0 only if coverage has no hole."""
    warnings.filterwarnings("ignore", module="fc_pipeline")  # Dagster says "preview" of what the assets use
    from fc_pipeline.cli.catch_up import catch_up  # importing Dagster takes seconds
    from fc_pipeline.ingest.replica import open_replica

    settings = Settings.load()
    # As Ctrl-C: the run is recorded as ended, and the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    columns = (TextColumn("folding"), BarColumn(), MofNCompleteColumn(), TextColumn("blocks"), TimeElapsedColumn())
    with open_services(settings, need_redis=False) as opened:
        try:
            with (
                open_replica(opened) as replica,
                Progress(*columns, console=Console(stderr=True, quiet=as_json)) as progress,
            ):
                bar = progress.add_task("blocks", total=None)
                done = catch_up(
                    replica,
                    project_root(),
                    lambda blocks, total: progress.update(bar, completed=blocks, total=total),
                )
        finally:
            close_services_for_process()
    read = done.missing_before - done.missing
    if as_json:
        outcome = {"complete": done.missing == 0, "blocks_read": read, "blocks_missing": done.missing}
        sys.stdout.write(json.dumps(outcome) + "\n")
    elif not done.missing:
        Console().print(f"in step with the hub: {read:,} blocks read, coverage has no hole", highlight=False)
    if done.missing:
        raise ServiceError(
            f"coverage has holes: {done.missing:,} blocks are missing",
            hint="`fc-pipeline status` shows where; the hub's feed no longer has them",
        )
