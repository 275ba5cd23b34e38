"""A replica of a release that had fewer tables: those of this one are made of what its database and its lake have."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store.schema import alembic_config, ensure_schema
from fc_pipeline.tables.registry import DATA_TABLES, DERIVED_TABLES
from fc_pipeline_tests.support.folded import Dump
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

EARLIER = "0012"
BEFORE_GASLESS_KEYS = "0014"
OLD_TABLES = (
    "casts",
    "reactions",
    "links",
    "verifications",
    "user_data",
    "username_proofs",
    "on_chain_events",
    "user_profiles",
    "fid_activity",
)


def undated(bench: Workbench, tables: Iterable[str]) -> Dump:
    """All of the rows but the times of their blocks, which the earlier releases did not note."""
    found: Dump = {}
    for table in tables:
        names = [name for name in DATA_TABLES[table].names if name not in ("block_time", "network_time")]
        found[table] = [row[0] for row in bench.rows(f"SELECT ROW({', '.join(names)})::text FROM {table} ORDER BY 1")]
    return found


@pytest.fixture
def upgraded(database: Database, lake: Path, lines: list[bytes]) -> Iterator[tuple[Workbench, Dump, Dump]]:
    """What this release finds of the earlier one after its first start, and what it would have written itself."""
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()
        expected, known = bench.dump(), undated(bench, DATA_TABLES)
        with database.engine.begin() as connection:
            command.downgrade(alembic_config(connection), EARLIER)
            connection.execute(
                sa.text("UPDATE pipeline.coverage SET tables = :old"), {"old": ["hub_events", *OLD_TABLES]}
            )
        ensure_schema(database.engine)
        yield bench, expected, known


def test_derived_tables_are_there_at_once_and_the_others_come_from_the_raw_log(
    upgraded: tuple[Workbench, Dump, Dump],
) -> None:
    bench, expected, known = upgraded
    complete = {*OLD_TABLES, *(one.name for one in DERIVED_TABLES if "channel" not in one.name)}
    assert undated(bench, complete) == {name: known[name] for name in complete}
    assert any(expected[name] for name in ("embeds", "signers", "storage_rents"))
    assert bench.missing_hours() != []  # of the tables that only the log can fill
    bench.run()
    assert bench.dump() == expected
    assert bench.missing_hours() == []


def test_keys_that_only_a_hub_tells_of_get_their_table_and_nothing_is_read_again(
    database: Database, lake: Path, lines: list[bytes]
) -> None:
    with serving(log_from_lines(lines)) as url, workbench(database, lake, url) as bench:
        bench.run()
        known = undated(bench, DATA_TABLES)
        assert known["signers"]
        with database.engine.begin() as connection:
            command.downgrade(alembic_config(connection), BEFORE_GASLESS_KEYS)
        ensure_schema(database.engine)
        assert undated(bench, DATA_TABLES) == known
        assert bench.rows("SELECT count(*) FROM gasless_keys") == [(0,)]
        assert bench.missing_hours() == []
