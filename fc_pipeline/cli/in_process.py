"""Runs of our jobs in this process, recorded in the Dagster instance like any other."""

import logging
from collections.abc import Mapping
from typing import Any, cast

from dagster import Config, DagsterInstance, DagsterRunStatus, ExecuteInProcessResult, RunConfig, RunsFilter
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from fc_pipeline.config.settings import Settings
from fc_pipeline.definitions import build_defs
from fc_pipeline.errors import FcPipelineError, ServiceError
from fc_pipeline.orchestration.assets.outputs import OUTCOME
from fc_pipeline.orchestration.failures import failure_of_step
from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, new_instance, present
from fc_pipeline.services import open_services_for_process

__all__ = ["run_for_output", "run_over_partitions"]


def run_over_partitions(
    instance: DagsterInstance, job: str, op: str, config: Config, first: str, last: str
) -> Mapping[str, Any]:
    """One run of a job over the partitions from `first` to `last`; returns what its step reports under OUTCOME.

    Raises FcPipelineError if it failed, KeyboardInterrupt where it was asked to end.
    """
    tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    result = _run(instance, job, RunConfig(ops={op: config}), tags)
    outputs = (event.step_output_data.metadata for event in result.all_events if event.is_successful_output)
    return next((cast("Mapping[str, Any]", one[OUTCOME].value) for one in outputs if OUTCOME in one), {})


def run_for_output(instance: DagsterInstance, job: str, op: str, config: Config | None = None) -> Any:
    """One run of a job without partitions; returns the output of its op.

    Raises FcPipelineError if it failed, KeyboardInterrupt where it was asked to end.
    """
    return _run(instance, job, RunConfig(ops={} if config is None else {op: config}), {}).output_for_node(op)


def _run(instance: DagsterInstance, job: str, config: RunConfig, tags: dict[str, Any]) -> ExecuteInProcessResult:
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    settings = open_services_for_process(Settings.load(), need_hub=False, need_redis=False)
    launched_by = new_instance(settings.data_dir)
    with present(settings, launched_by):
        result = (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                tags={**tags, INSTANCE_TAG: launched_by},
                run_config=RunConfig(
                    ops=config.ops,
                    loggers={"console": {"config": {"log_level": "CRITICAL"}}},  # its message is in the UI
                ),
            )
        )
    canceled = RunsFilter(run_ids=[result.run_id], statuses=[DagsterRunStatus.CANCELED])
    if instance.get_runs_count(canceled):
        raise KeyboardInterrupt  # the run has received Ctrl-C or SIGTERM, and ended early
    if not result.success:
        raise _failure(result)
    return result


def _failure(result: ExecuteInProcessResult) -> FcPipelineError:
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    found = failure_of_step(failures[-1]) if failures else ServiceError("the run did not say why it failed")
    log = f"the whole log of run {result.run_id} is in the Dagster UI (fc-pipeline up)"
    found.hint = f"{found.hint}; {log}" if found.hint else log
    return found
