"""Invented rows are looked for by their version, without reading a large table through."""

import re

import sqlalchemy as sa

from fc_pipeline.reconcile import log_sql
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.postgres import INDEXES_IF_ANY, Database

ROWS = 60_000
OLD, NEW = 1_000, 9_000
"""Versions of the rows of long ago, and of those that an hour has decided."""


def test_every_table_whose_rows_have_a_version_of_an_event_is_found_by_it():
    found = {name for name, table in DATA_TABLES.items() if table.is_read_by_version}
    only_of_the_feed = {"storage_lends", "channel_settings", "channel_members", "channel_pins", "channel_moderations"}
    assert found == set(DATA_TABLES) - {"fid_activity", *only_of_the_feed}


def test_the_rows_of_some_hours_are_found_without_reading_the_table_through(database: Database):
    ensure_schema(database.engine)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for first, last, version in ((1, ROWS, OLD), (ROWS + 1, ROWS + 100, NEW)):
            connection.execute(
                sa.text(
                    "INSERT INTO casts (hash, fid, timestamp, text, type, version) SELECT int8send(i), i, now(), "
                    "repeat('word ', 20), 'cast', :version FROM generate_series(:first, :last) AS i"
                ),
                {"first": first, "last": last, "version": version},
            )
        connection.execute(sa.text("VACUUM ANALYZE casts"))
        for statement in log_sql.create_staging(CASTS):
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(INDEXES_IF_ANY)
        looking = log_sql.candidates(CASTS).replace("$1", str(NEW)).replace("$2", str(NEW + 100))
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN ANALYZE {looking}"))
        assert connection.exec_driver_sql(log_sql.count_candidates(CASTS)).scalar() == 100
    assert re.search(r"Index Scan on casts(_p\d+)?_version_idx", plan), plan
    assert "Seq Scan on casts" not in plan, plan
