"""Tables of channels against the raw log of a real node: what somebody changed by hand is found and mended."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.reconcile.log_comparison import compare_with_log, repair_hour
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.damage import CHANGED, invent
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.recorded_node import served_node
from fc_pipeline_tests.support.workbench import Workbench, workbench

TABLES = [name for name in CHANGED if name.startswith("channel")]


@pytest.fixture(scope="module")
def bench(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, shared_fixtures: Path
) -> Iterator[Workbench]:
    lake = tmp_path_factory.mktemp("replica") / "lake"
    with (
        served_node(shared_fixtures) as url,
        fresh_database(postgres) as database,
        workbench(database, lake, url) as opened,
    ):
        opened.run()
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["missing", "changed", "invented"])
def test_a_row_that_was_changed_by_hand_is_found_and_mended(bench: Workbench, table: str, kind: str) -> None:
    before = bench.dump()
    one = f"ctid = (SELECT min(ctid) FROM {table})"
    statements = {
        "missing": f"DELETE FROM {table} WHERE {one}",
        "changed": f"UPDATE {table} SET {CHANGED[table].partition(' WHERE ')[0]} WHERE {one}",
        "invented": invent(table, 1),
    }
    with bench.replica.engine.begin() as connection:
        assert connection.execute(sa.text(statements[kind])).rowcount == 1
    found = compare_with_log(bench.replica, (table,)).tables[table]
    (hour,) = found.differences
    counts = {name: getattr(hour, name) for name in statements}
    assert counts == {**dict.fromkeys(statements, 0), kind: 1}
    assert hour.hour is not None
    repair_hour(bench.replica, hour.hour, [table])
    assert bench.dump() == before
