"""The code server on its own, as in a container: what it says of itself, and what becomes of earlier runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dagster import DagsterRunStatus, job
from dagster._grpc.client import DagsterGrpcClient

from fc_pipeline.orchestration.instance.instances import INSTANCE_TAG, INSTANCE_VARIABLE, living_instances, number_of
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

NAME = "compose:/var/lib/fc_pipeline main"
TIMEOUT_SECONDS = 90.0

pytestmark = pytest.mark.slow


@job
def anything() -> None:
    """Never executed."""


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Iterator[Pipeline]:
    with open_pipeline(database, tmp_path / "data") as opened:
        yield opened


@contextmanager
def code_server(pipeline: Pipeline, port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    module = "fc_pipeline.orchestration.servers.code_server"
    command = [sys.executable, "-m", module, "-m", "fc_pipeline.definitions", "-h", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**pipeline.environment, INSTANCE_VARIABLE: NAME}, stdout=out, stderr=out, process_group=0
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_it_serves(process: subprocess.Popen[bytes], port: int, log: Path) -> str:
    """The id of the server that answers, which another one has after a reload."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    client = DagsterGrpcClient(port=port, host="127.0.0.1")
    while client.health_check_query() != "SERVING":
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    return client.get_server_id()


def status_of(pipeline: Pipeline, run_id: str) -> DagsterRunStatus:
    run = pipeline.instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_it_lives_under_its_name_and_ends_what_died_with_its_predecessor(pipeline: Pipeline, tmp_path: Path) -> None:
    def started(tags: dict[str, str]) -> str:
        return pipeline.instance.create_run_for_job(anything, tags=tags, status=DagsterRunStatus.STARTED).run_id

    settings = pipeline.bench.replica.settings
    predecessors, by_others = started({INSTANCE_TAG: NAME}), started({INSTANCE_TAG: "other:/data 1"})
    port, log = free_port(), tmp_path / "log"
    with code_server(pipeline, port, log) as process:
        first = wait_until_it_serves(process, port, log)
        assert living_instances(settings) == {number_of(NAME)}
        assert status_of(pipeline, predecessors) == DagsterRunStatus.FAILURE
        assert status_of(pipeline, by_others) == DagsterRunStatus.STARTED

        with code_server(pipeline, free_port(), tmp_path / "second") as second:
            assert second.wait(TIMEOUT_SECONDS) != 0
        assert f"a code server with the name {NAME!r} is at work" in (tmp_path / "second").read_text()

        process.send_signal(signal.SIGUSR1)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while wait_until_it_serves(process, port, log) == first:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        own = started({INSTANCE_TAG: NAME})
        process.terminate()
        process.wait(TIMEOUT_SECONDS)
    assert status_of(pipeline, own) == DagsterRunStatus.CANCELING
    assert living_instances(settings) == set()
