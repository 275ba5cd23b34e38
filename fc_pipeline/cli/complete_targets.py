"""The run that completes new targets' histories, in this process."""

from pathlib import Path

from dagster import DagsterInstance

from fc_pipeline.cli.in_process import run_for_output
from fc_pipeline.orchestration.target_sync_job import SYNC_TARGETS, complete_histories

__all__ = ["complete_targets"]


def complete_targets(dagster_home: Path) -> None:
    """One run, recorded in the instance of this folder. Raises what it failed with."""
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        run_for_output(instance, SYNC_TARGETS.name, complete_histories.name)
