"""The three instances of Dagster (a project's folder, the image, the chart) are one, but for what is said here."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config

from fc_pipeline.config.project import project_root
from fc_pipeline.orchestration.instance.concurrency import CATCH_UP_TAG
from fc_pipeline_tests.support.deployed import DEPLOY, read_yaml

FOLLOWERS = 2
"""The run that follows the feed and its successor, which wait for no other one."""


def of_the_folder() -> dict[str, Any]:
    return yaml.safe_load((project_root() / "dagster.yaml").read_text(encoding="utf-8"))


def limits(instance: dict[str, Any]) -> dict[str, int]:
    """How many runs there may be at a time: by tag, and of all."""
    runs = instance["concurrency"]["runs"]
    return {one["key"]: one["limit"] for one in runs["tag_concurrency_limits"]} | {"": runs["max_concurrent_runs"]}


def without_limits(instance: dict[str, Any]) -> dict[str, Any]:
    return {**instance, "concurrency": {**instance["concurrency"], "runs": sorted(limits(instance))}}


def of_the_chart() -> dict[str, Any]:
    """What of the values is of the instance, under Dagster's names."""
    values = read_yaml("helm/values.yaml")
    daemon, runs = values["dagsterDaemon"], values["concurrency"]["runs"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]
    threads = {"useThreads": "use_threads", "numWorkers": "num_workers", "numSubmitWorkers": "num_submit_workers"}
    monitoring = {
        "enabled": "enabled",
        "startTimeoutSeconds": "start_timeout_seconds",
        "cancelTimeoutSeconds": "cancel_timeout_seconds",
        "maxRuntimeSeconds": "max_runtime_seconds",
        "maxResumeRunAttempts": "max_resume_run_attempts",
        "pollIntervalSeconds": "poll_interval_seconds",
        "freeSlotsAfterRunEndSeconds": "free_slots_after_run_end_seconds",
    }
    retries = {
        "enabled": "enabled",
        "maxRetries": "max_retries",
        "retryOnAssetOrOpFailure": "retry_on_asset_or_op_failure",
    }
    of_queue = {
        "dequeueIntervalSeconds": "dequeue_interval_seconds",
        "dequeueUseThreads": "dequeue_use_threads",
        "dequeueNumWorkers": "dequeue_num_workers",
    }
    kinds = {"schedule": "schedule", "sensor": "sensor", "autoMaterialize": "auto_materialize"}
    return {
        "run_coordinator": {
            "module": "dagster._core.run_coordinator",
            "class": daemon["runCoordinator"]["type"],
            "config": renamed(queue, of_queue),
        },
        "concurrency": {
            "pools": values["concurrency"]["pools"],
            "runs": {
                "max_concurrent_runs": runs["maxConcurrentRuns"],
                "tag_concurrency_limits": runs["tagConcurrencyLimits"],
            },
        },
        "run_monitoring": renamed(daemon["runMonitoring"], monitoring),
        "run_retries": renamed(daemon["runRetries"], retries),
        **{name: renamed(daemon[name], threads) for name in ("sensors", "schedules", "backfills")},
        "retention": {
            theirs: {"purge_after_days": values["retention"][ours]["purgeAfterDays"]} for ours, theirs in kinds.items()
        },
        "python_logs": {
            "python_log_level": values["pythonLogs"]["pythonLogLevel"],
            "managed_python_loggers": values["pythonLogs"]["managedPythonLoggers"],
        },
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }


def renamed(given: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    assert given.keys() <= names.keys(), "say here what the chart makes of it"
    return {names[name]: value for name, value in given.items()}


def test_the_image_has_the_instance_of_a_project_folder_with_more_runs() -> None:
    image = read_yaml("dagster.yaml")
    assert without_limits(image) == without_limits(of_the_folder())
    assert all(number >= limits(of_the_folder())[tag] for tag, number in limits(image).items())


def test_the_chart_has_it_too_but_for_where_runs_and_their_output_are() -> None:
    folder, chart = without_limits(of_the_folder()), without_limits(of_the_chart())
    elsewhere = {"storage", "run_launcher", "local_artifact_storage", "compute_logs"}
    assert folder.keys() - chart.keys() == elsewhere
    assert chart.keys() <= folder.keys()
    # A pod waits for its node. Its end takes longer, too: it is asked for through Kubernetes.
    monitoring = chart.pop("run_monitoring")
    assert monitoring.pop("start_timeout_seconds") > monitoring.pop("cancel_timeout_seconds") >= 120
    assert monitoring.items() <= folder.pop("run_monitoring").items()
    # Its schema wants all four; what is not said is kept for ever.
    chart["retention"]["auto_materialize"]["purge_after_days"].pop("started")
    assert chart == {name: value for name, value in folder.items() if name not in elsewhere}


@pytest.mark.parametrize("instance", [of_the_folder(), read_yaml("dagster.yaml"), of_the_chart()])
def test_the_run_that_follows_waits_for_no_other(instance: dict[str, Any]) -> None:
    numbers = limits(instance)
    assert CATCH_UP_TAG in numbers
    assert numbers.pop("") >= sum(numbers.values()) + FOLLOWERS


@pytest.mark.parametrize("folder", [project_root(), DEPLOY])
def test_dagster_reads_it(folder: Path) -> None:
    read, _ = dagster_instance_config(str(folder))
    assert read["concurrency"]["runs"]["max_concurrent_runs"] == limits(
        yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8"))
    ).get("")
