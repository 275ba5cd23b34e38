"""`fc-pipeline metrics`: it serves what there is to know while everything else is dead, and says what is."""

import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fc_pipeline.services.local_http import local_answer
from fc_pipeline_tests.support.pipeline import open_pipeline, project_environment, sample_hub
from fc_pipeline_tests.support.postgres import Database

Values = dict[tuple[str, ...], float]
NOBODY = "http://127.0.0.1:9"
SECRET = "hunter2"
PATIENCE_SECONDS = 60.0


@contextmanager
def serving(**variables: str) -> Generator[int]:
    """The command in a process of its own, on a free port."""
    command = [sys.executable, "-m", "fc_pipeline.cli", "metrics", "--port", "0"]
    environment = project_environment(**variables)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        assert line.startswith("metrics: http://127.0.0.1:"), process.stderr.read()
        yield int(line.rsplit(":", 1)[1].split("/")[0])
    finally:
        process.terminate()
        said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert SECRET not in "".join(said)


def scraped(port: int) -> Values:
    status, body = local_answer(port, "/metrics", timeout_seconds=10.0)
    assert status == 200
    assert SECRET not in body.decode()
    families = text_string_to_metric_families(body.decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def scraped_when(port: int, holds: Callable[[Values], bool]) -> Values:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds(found := scraped(port)):
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


@pytest.mark.slow
def test_with_nothing_but_postgres(database: Database, tmp_path: Path) -> None:
    with sample_hub() as hub, open_pipeline(database, tmp_path, hub) as pipeline:
        pipeline.bench.run()
        heads = {str(shard.shard): shard.head_height for shard in pipeline.bench.survey().shards}
        variables = {"FC_DATA_DIR": str(tmp_path), "FC_POSTGRES_URL": database.url}
        with serving(**variables, FC_HUB_URLS=f"{hub},{NOBODY}/{SECRET}") as port:
            sources = ("ledger", "dagster", "hubs", "lake")
            found = scraped_when(port, lambda v: all(v.get(("fc_source_up", name)) == 1 for name in sources))
    assert (found["fc_hub_up", hub], found["fc_hub_up", NOBODY]) == (1, 0)
    assert {shard: found["fc_hub_head_height", hub, shard] for shard in heads} == heads
    assert {shard: found["fc_shard_cursor_height", shard] for shard in heads} == heads
    assert found["fc_lake_files",] > 0


@pytest.mark.slow
def test_without_postgres_it_says_so(tmp_path: Path) -> None:
    dead = f"postgresql://me:{SECRET}@127.0.0.1:9/replica?connect_timeout=2"
    variables = {"FC_DATA_DIR": str(tmp_path), "FC_POSTGRES_URL": dead}
    with serving(**variables, FC_HUB_URLS=NOBODY) as port:
        found = scraped_when(port, lambda v: v.get(("fc_source_up", "hubs")) == 1)
    assert (found["fc_source_up", "ledger"], found["fc_source_up", "dagster"]) == (0, 0)
    assert found["fc_hub_up", NOBODY] == 0
    assert not any(name.startswith("fc_shard") for name, *_ in found)


def test_up_names_the_setting_where_metrics_cannot_be_served(tmp_path: Path) -> None:
    environment = project_environment(FC_DATA_DIR=str(tmp_path), FC_METRICS_HOST="192.0.2.1")
    command = [sys.executable, "-m", "fc_pipeline.cli", "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "no free port on 192.0.2.1" in done.stderr
    assert "FC_METRICS_HOST" in done.stderr
    assert not (tmp_path / "postgres").exists()  # nothing was started
