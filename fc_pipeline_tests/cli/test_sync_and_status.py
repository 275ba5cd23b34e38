"""`fc-pipeline sync` and `status` against a hub of generated events: complete, idempotent, honest when it is gone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from fc_pipeline.cli.status import EXIT_CODES
from fc_pipeline.services.postgres import EmbeddedPostgres

EVENTS = 4000


@dataclass(frozen=True)
class Project:
    """A data folder, and the hub whose events go into it."""

    data_dir: Path
    hub_url: str

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_"))}
        return subprocess.run(
            [sys.executable, "-m", "fc_pipeline.cli", *arguments],
            env={**kept, "FC_DATA_DIR": str(self.data_dir), "FC_HUB_URLS": self.hub_url, **variables},
            capture_output=True,
            text=True,
            timeout=300,
        )


@pytest.fixture
def hub() -> Iterator[str]:
    """A hub of generated events that ends when the test does; also when the test stops it itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fc_pipeline.cli", "sample-hub", "--events", str(EVENTS), "--fids", "50", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
    process.terminate()
    process.communicate()


@pytest.mark.slow
def test_sync_reads_everything_once_and_status_says_so(hub: str, tmp_path: Path):
    project = Project(tmp_path / "data", hub)
    first = project.run("sync", "--json")
    assert first.returncode == 0, first.stderr
    outcome = json.loads(first.stdout)
    assert outcome["complete"]
    assert outcome["blocks_read"] > 0

    again = project.run("sync", "--json", PYTHONPROFILEIMPORTTIME="1")
    assert again.returncode == 0, again.stderr
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert "fc_pipeline.feed.survey" in imported
    assert not imported & {"dagster", "pandas"}  # seconds, for nothing
    nothing = {"complete": True, "blocks_read": 0, "blocks_missing": 0, "blocks_by_snapshots": 0}
    assert json.loads(again.stdout) == nothing

    status = project.run("status", "--json")
    assert status.returncode == 0, status.stderr
    found = json.loads(status.stdout)
    assert found["is_complete"]
    assert [shard["holes"] for shard in found["shards"]] == [[]] * len(found["shards"])
    assert [shard["blocks_behind"] for shard in found["shards"]] == [0] * len(found["shards"])
    assert all(shard["lag_seconds"] > 0 for shard in found["shards"])  # the age of the last block, however level
    live_rows = {table["table"]: table["live_rows"] for table in found["tables"]}
    assert live_rows["casts"] > 0
    assert live_rows["user_profiles"] > 0
    assert found["hub_error"] is None
    assert found["gaps"] == []

    execute(
        project.data_dir,
        "UPDATE pipeline.coverage SET to_height = from_height + 1, last_block_hash = NULL WHERE shard = 1",
    )
    behind = project.run("status", "--json")
    assert (behind.returncode, json.loads(behind.stdout)["state"]) == (EXIT_CODES["behind"], "behind"), behind.stderr
    assert EXIT_CODES["behind"] == 4
    execute(project.data_dir, "UPDATE pipeline.coverage SET from_height = from_height + 1 WHERE shard = 2")
    holed = project.run("status", "--json")
    assert (holed.returncode, json.loads(holed.stdout)["state"]) == (EXIT_CODES["holes"], "holes"), holed.stderr
    assert EXIT_CODES["holes"] == 5


def execute(data_dir: Path, statement: str) -> None:
    """On the embedded server, which runs only while a command needs it."""
    server = EmbeddedPostgres(data_dir)
    server.acquire()
    try:
        with closing(psycopg2.connect(server.url())) as connection, connection, connection.cursor() as cursor:
            cursor.execute(statement)
            assert cursor.rowcount > 0
    finally:
        server.release()


@pytest.mark.slow
def test_without_a_hub_sync_fails_readably_and_status_still_tells(tmp_path: Path):
    project = Project(tmp_path / "data", "http://127.0.0.1:9")
    failed = project.run("sync")
    assert failed.returncode == 1
    assert "127.0.0.1:9" in failed.stderr
    assert "Traceback" not in failed.stderr
    status = project.run("status")
    assert status.returncode == EXIT_CODES["hub_unreachable"] == 3, status.stderr
    assert "127.0.0.1:9" in status.stdout
    assert "casts" in status.stdout
