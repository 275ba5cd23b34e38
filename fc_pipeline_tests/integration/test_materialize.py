"""Dagster's own command line against a real instance, Postgres and hub: an hour, a range, and a table from the log."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus, RunsFilter

from fc_pipeline.config.project import project_root
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database

pytestmark = pytest.mark.slow

FIRST, SECOND, THIRD = SAMPLE_HOURS
ALL = ",".join((RAW_LOG, *DATA_TABLES))


@dataclass(frozen=True)
class Shell:
    """A user at the command line in the checkout, with DAGSTER_HOME and the settings in the environment."""

    pipeline: Pipeline

    def materialize(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dagster", "asset", "materialize", *arguments],
            cwd=project_root(),
            env={**self.pipeline.environment, **variables},
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture(scope="module")
def shell(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The whole module works on one pipeline, test after test."""
    data_dir: Path = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        yield Shell(opened)


def test_one_hour(shell: Shell):
    done = shell.materialize("--select", ALL, "--partition", FIRST.key, "-m", "fc_pipeline.definitions")
    assert done.returncode == 0, done.stderr
    for asset in (RAW_LOG, *DATA_TABLES):
        assert shell.pipeline.hours_of(asset) == {FIRST.key}
    assert shell.pipeline.checks(RAW_LOG, "coverage_without_holes")[None].passed
    (run,) = shell.pipeline.instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.SUCCESS]))
    assert run.tags["dagster/partition"] == FIRST.key


def test_a_range_of_hours(shell: Shell):
    span = f"{FIRST.key}...{THIRD.key}"
    done = shell.materialize("--select", ALL, "--partition-range", span, "-m", "fc_pipeline.definitions")
    assert done.returncode == 0, done.stderr
    for asset in (RAW_LOG, *DATA_TABLES):
        assert shell.pipeline.hours_of(asset) == {hour.key for hour in SAMPLE_HOURS}
    assert shell.pipeline.bench.survey().shards
    assert all(not shard.holes for shard in shell.pipeline.bench.survey().shards)


@pytest.mark.parametrize("table", ["casts", "user_profiles"])
def test_a_dropped_table_comes_back_from_the_log_alone(shell: Shell, table: str):
    before = shell.pipeline.tables()
    with shell.pipeline.bench.replica.engine.begin() as connection:
        connection.execute(sa.text(f"DROP TABLE {table} CASCADE"))
    span = f"{FIRST.key}...{THIRD.key}"
    arguments = ("--select", table, "--partition-range", span, "-m", "fc_pipeline.definitions")
    done = shell.materialize(*arguments, FC_HUB_URLS="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert shell.pipeline.tables() == before
    assert before[table]


def test_without_hub_and_log_it_fails_and_says_what_to_do(shell: Shell):
    arguments = ("--select", "casts", "--partition", "2026-11-02-00:00", "-m", "fc_pipeline.definitions")
    failed = shell.materialize(*arguments, FC_HUB_URLS="http://127.0.0.1:9")
    assert failed.returncode != 0
    said = failed.stdout + failed.stderr
    assert "the raw log has nothing of 2026-11-02-00:00" in said
    assert "materialise hub_events for these hours first" in said
