"""The run that completes new targets' histories, in this process."""

from pathlib import Path

from dagster import DagsterInstance

from fc_pipeline.cli.in_process import run_over_partitions
from fc_pipeline.lake.snapshot_log import BUCKETS, bucket_key
from fc_pipeline.orchestration.assets.snapshots import BackfillConfig, fid_tables
from fc_pipeline.orchestration.jobs import SNAPSHOTS

__all__ = ["complete_targets"]


def complete_targets(dagster_home: Path) -> None:
    """One run, recorded in the instance of this folder. Raises what it failed with."""
    with DagsterInstance.from_config(str(dagster_home)) as instance:
        config = BackfillConfig(targets=True)
        failure = run_over_partitions(
            instance, SNAPSHOTS.name, fid_tables.op.name, config, bucket_key(0), bucket_key(BUCKETS - 1)
        )
    if failure is not None:
        raise failure
