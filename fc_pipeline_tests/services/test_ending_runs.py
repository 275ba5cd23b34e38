"""Whose runs end with a code server: those of `up`, by its socket or, of earlier releases, its port."""

import json

import pytest
from dagster import DagsterInstance, DagsterRunStatus, job
from dagster._core.storage.tags import GRPC_INFO_TAG

from fc_pipeline.services.ending_runs import _runs


@job
def anything() -> None:
    """Never executed."""


@pytest.mark.parametrize(
    ("server", "is_of_up"),
    [
        ({"host": "localhost", "socket": "/somewhere/data/run/dagster/code_server.sock"}, True),
        ({"host": "127.0.0.1", "port": 4000}, True),
        ({"host": "localhost", "socket": "/elsewhere/tmpgrpc1234"}, False),  # as `dagster dev` has it
        (None, False),
    ],
)
def test_runs_of_up_are_known_by_their_code_server(server: dict[str, object] | None, is_of_up: bool):
    tags = {} if server is None else {GRPC_INFO_TAG: json.dumps(server)}
    with DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(anything, tags=tags, status=DagsterRunStatus.STARTED)
        found = [one.run_id for one in _runs(instance, [DagsterRunStatus.STARTED])]
    assert found == ([run.run_id] if is_of_up else [])
