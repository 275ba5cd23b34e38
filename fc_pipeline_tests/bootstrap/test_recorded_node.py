"""A real node's files, loaded: the tables are those that its feed makes, and their root is the signed one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.repair.keys import is_anything_due, read_due_keys
from fc_pipeline_tests.support.loaded_tables import live_rows
from fc_pipeline_tests.support.node_files import unpacked_node
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.recorded_node import served_node
from fc_pipeline_tests.support.workbench import Workbench, workbench

LEAVES = {1: 1779, 2: 1532}
"""As the node's own /v1/info says."""


@pytest.fixture(scope="module")
def node(shared_fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked_node(shared_fixtures, tmp_path_factory.mktemp("node"))


@pytest.fixture
def loaded(database: Database, lake: Path) -> Iterator[Workbench]:
    with workbench(database, lake, "http://127.0.0.1:9") as bench:
        yield bench


@pytest.mark.parametrize("workers", [1, 2])
def test_the_loaded_tables_are_those_that_the_feed_makes(
    loaded: Workbench,
    other_database: Database,
    node: Path,
    shared_fixtures: Path,
    tmp_path: Path,
    workers: int,
) -> None:
    outcome = Bootstrap(loaded.replica, node, "load", workers).execute()
    assert dict(zip((1, 2), outcome.leaves, strict=True)) == LEAVES
    with served_node(shared_fixtures) as url, workbench(other_database, tmp_path / "other", url) as folded:
        folded.run()
        while is_anything_due(folded.replica):
            read_due_keys(folded.replica, "keys")
        expected = live_rows(folded)
    found = live_rows(loaded)
    differing = {name: set(rows) ^ set(found[name]) for name, rows in expected.items() if rows != found[name]}
    assert differing == {}
    assert {one[2] for one in loaded.quarantine()} == {"nul_removed"}
