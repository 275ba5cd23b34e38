"""The run that reads gasless keys, in this process."""

from pathlib import Path

from dagster import DagsterInstance

from fc_pipeline.cli.in_process import run_for_output
from fc_pipeline.orchestration.key_reading_job import READ_KEYS, read_gasless_keys

__all__ = ["read_due_keys"]


def read_due_keys(dagster_home: Path) -> None:
    """One run, recorded in the instance of this folder. Raises what it failed with."""
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        run_for_output(instance, READ_KEYS.name, read_gasless_keys.name)
