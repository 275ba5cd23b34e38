"""Rows of a table: exact while it is small, about right when large, and never none where there are some."""

import pytest
import sqlalchemy as sa

from fc_pipeline.status import row_counts
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.tables.fid_activity import FID_ACTIVITY
from fc_pipeline_tests.support.postgres import Database

FILL = (
    "INSERT INTO fid_activity SELECT now(), fid, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, "
    "CASE WHEN fid % 4 = 0 THEN now() END FROM generate_series(1, 20000) AS fid"
)


def found(database: Database) -> int:
    with database.engine.connect() as connection:
        return live_rows(connection, FID_ACTIVITY)


def fill(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE fid_activity SET (autovacuum_enabled = false)"))
        connection.execute(sa.text(FILL))


def test_a_table_just_made_and_filled_is_counted(database: Database):
    assert found(database) == 0
    fill(database)
    assert found(database) == 15_000


def test_a_large_one_that_was_never_analysed_is_sampled(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_counts, "COUNTED_BYTES", 0)
    monkeypatch.setattr(row_counts, "SAMPLED_PAGES", 50)
    fill(database)
    assert 5_000 < found(database) < 45_000


def test_a_large_one_is_estimated_from_its_statistics(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(row_counts, "COUNTED_BYTES", 0)
    fill(database)
    with database.engine.begin() as connection:
        connection.execute(sa.text("ANALYZE fid_activity"))
    assert found(database) == pytest.approx(15_000, rel=0.02)


def test_a_dropped_one_has_none(database: Database):
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE fid_activity CASCADE"))
    assert found(database) == 0
