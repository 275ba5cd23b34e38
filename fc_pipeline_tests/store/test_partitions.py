"""Large tables in hash partitions by FID: how they are made, and what Postgres does for none of them by itself."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from fc_pipeline.config import variables
from fc_pipeline.errors import PostgresError
from fc_pipeline.replica import open_replica
from fc_pipeline.status import row_counts
from fc_pipeline.status.row_counts import live_rows
from fc_pipeline.store import later_indexes, partitions
from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.store.partitions import PARTITIONABLE, extent_of, partitions_of
from fc_pipeline.store.schema import ensure_schema, owned_by_us
from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import METADATA
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.reactions import REACTIONS
from fc_pipeline_tests.support.events import NOW, compact_state, link, merge
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.postgres import Database, settings_of

PARTS = 5
"""No power of two, for Postgres asks for none."""
FOLLOWERS = range(1, 21)


@pytest.fixture
def parted(empty_database: Database) -> FoldedDatabase:
    ensure_schema(empty_database.engine, PARTS)
    return FoldedDatabase(empty_database.url, empty_database.engine)


@pytest.fixture
def connection(parted: FoldedDatabase) -> Iterator[sa.Connection]:
    with parted.engine.begin() as connection:
        yield connection


def fill_links(connection: sa.Connection) -> None:
    rows = (
        "INSERT INTO links (fid, type, target_fid, version, deleted_at) "
        "SELECT n % 97, 'follow', n, 1, CASE WHEN n % 4 = 0 THEN now() END FROM generate_series(1, 20000) AS n"
    )
    connection.execute(sa.text(rows))


def test_they_are_the_large_tables_whose_key_has_the_fid() -> None:
    assert PARTITIONABLE == (CASTS, REACTIONS, LINKS)


def test_a_new_database_has_them_as_declared(parted: FoldedDatabase, connection: sa.Connection) -> None:
    for table in PARTITIONABLE:
        names = partitions_of(connection, table)
        assert names == [f"public.{table.name}_p0{number}" for number in range(PARTS)]
        options = "SELECT reloptions FROM pg_class WHERE oid = to_regclass(:name)"
        known = "SELECT count(*) FROM pg_statistic_ext WHERE stxrelid = to_regclass(:name)"
        for name in names:
            found = set(connection.execute(sa.text(options), {"name": name}).scalar_one())
            assert found == {f"{key}={value}" for key, value in table.storage_parameters.items()}
        for name in (table.qualified, *names):
            assert connection.execute(sa.text(known), {"name": name}).scalar_one() == len(table.statistics)
    settings = {"include_schemas": True, "include_name": owned_by_us, "version_table_schema": SCHEMA}
    context = MigrationContext.configure(connection, opts={**settings, "compare_type": True})
    assert compare_metadata(context, METADATA) == []


def test_another_start_changes_nothing_with_or_without_the_setting(parted: FoldedDatabase) -> None:
    query = "SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') ORDER BY 1"
    before = parted.rows(query)
    for wanted in (PARTS, 3, None):
        ensure_schema(parted.engine, wanted)
    assert parted.rows(query) == before


def test_tables_that_are_there_stay_and_one_that_was_lost_comes_back_in_partitions(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE links CASCADE")
    ensure_schema(database.engine, PARTS)
    with database.engine.connect() as connection:
        assert len(partitions_of(connection, LINKS)) == PARTS
        found = {table: len(partitions_of(connection, table)) for table in (CASTS, REACTIONS)}
        assert PARTS not in found.values()
        assert partitions.otherwise_partitioned(connection, PARTS) == [CASTS.name, REACTIONS.name]


def test_that_the_setting_has_no_effect_is_said_once(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variables, "_warned_of", set[str]())
    settings = settings_of(database.url).model_copy(update={"lake_uri": str(tmp_path / "lake"), "pg_partitions": PARTS})
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with open_replica(settings):
                pass
    told = [record.getMessage() for record in caplog.records if "FC_PG_PARTITIONS" in record.getMessage()]
    assert len(told) == 1
    assert "FC_PG_PARTITIONS=5 has no effect on casts, reactions, links" in told[0]


def test_a_row_that_is_found_by_its_place_is_not_that_of_another_partition(parted: FoldedDatabase) -> None:
    parted.fold([merge(link(fid, fid + 100, NOW)) for fid in FOLLOWERS], [merge(compact_state(1, [7], NOW + 1))])
    places = parted.rows("SELECT ctid::text, count(DISTINCT tableoid) AS tables FROM links GROUP BY 1")
    assert max(place.tables for place in places) == PARTS
    assert parted.rows("SELECT fid FROM links WHERE deleted_at IS NOT NULL") == [(1,)]


def test_what_is_done_to_a_partition_by_hand_is_counted_and_told(parted: FoldedDatabase) -> None:
    parted.fold([merge(link(fid, 7, NOW)) for fid in FOLLOWERS])
    with parted.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE links_p01 SET deleted_at = now()")
        gone = connection.exec_driver_sql("DELETE FROM links_p02 RETURNING fid").scalars().all()
    (followers,) = parted.rows("SELECT followers FROM user_counts WHERE fid = 7")
    assert [followers] == parted.rows("SELECT count(*) FROM links WHERE deleted_at IS NULL")
    assert followers.followers < len(FOLLOWERS) - len(gone) < len(FOLLOWERS)
    removed = parted.rows("SELECT table_name, (key->>'fid')::bigint AS fid FROM pipeline.removals ORDER BY 2")
    assert removed == [("links", fid) for fid in sorted(gone)]
    stamps = parted.rows("SELECT DISTINCT change_id, tableoid::regclass::text = 'links_p01' AS touched FROM links")
    assert len({one.change_id for one in stamps if one.touched}) == 1
    assert {one.change_id for one in stamps if one.touched}.isdisjoint(o.change_id for o in stamps if not o.touched)


def test_a_fold_into_a_partition_that_is_gone_fails_and_says_what_to_do(parted: FoldedDatabase) -> None:
    with parted.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE links_p01")
    with pytest.raises(PostgresError, match=r"no partition of relation .*Drop its table"):
        parted.fold([merge(link(fid, 7, NOW)) for fid in FOLLOWERS])


def test_sizes_and_rows_are_those_of_all_partitions(connection: sa.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_links(connection)
    monkeypatch.setattr(row_counts, "COUNTED_BYTES", 0)
    monkeypatch.setattr(row_counts, "SAMPLED_PAGES", 20)
    assert 5_000 < live_rows(connection, LINKS) < 45_000  # sampled, for nothing is analysed
    connection.exec_driver_sql("ANALYZE links")
    pages = "SELECT sum(pg_relation_size(inhrelid)) / 8192 FROM pg_inherits WHERE inhparent = 'links'::regclass"
    found = extent_of(connection, LINKS.qualified)
    assert (found.rows, found.pages) == (20_000, connection.exec_driver_sql(pages).scalar_one())
    assert found.pages == found.known_pages > PARTS
    assert live_rows(connection, LINKS) == pytest.approx(15_000, rel=0.02)


def test_the_planner_is_told_of_the_whole(parted: FoldedDatabase) -> None:
    with parted.engine.begin() as connection:
        fill_links(connection)
    query = "SELECT count(*) FROM pg_stats WHERE tablename = 'links'"
    assert parted.rows(query) == [(0,)]
    assert partitions.analyze(parted.engine) == [one.name for one in PARTITIONABLE]
    assert parted.rows(query) > [(0,)]


_MADE = "public.links_change_id_idx"
_BROKEN: dict[str, str] = {
    "as a crash leaves that of a partition": (
        f"DROP INDEX {_MADE}; CREATE INDEX links_change_id_idx ON ONLY links (change_id); "
        "CREATE INDEX links_p01_change_id_idx ON links_p01 (change_id); "
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('links_p01_change_id_idx')"
    ),
    "as a crash leaves one that was not attached": (
        f"DROP INDEX {_MADE}; CREATE INDEX links_change_id_idx ON ONLY links (change_id); "
        "CREATE INDEX links_p00_change_id_idx ON links_p00 (change_id)"
    ),
    "with all its parts": f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('{_MADE}')",
    "lost": f"DROP INDEX {_MADE}",
}


def test_later_indexes_are_made_partition_by_partition_to_the_end(parted: FoldedDatabase) -> None:
    assert _MADE in later_indexes.make(parted.engine)
    for kind, statement in _BROKEN.items():
        with parted.engine.begin() as connection:
            connection.exec_driver_sql(statement)
            assert later_indexes.missing(connection) == [_MADE], kind
        assert later_indexes.make(parted.engine) == [_MADE], kind
        with parted.engine.connect() as connection:
            assert later_indexes.missing(connection) == [], kind
            parts = "SELECT count(*) FROM pg_inherits JOIN pg_index ON indexrelid = inhrelid AND indisvalid "
            found = connection.exec_driver_sql(f"{parts} WHERE inhparent = '{_MADE}'::regclass").scalar_one()
            assert found == PARTS, kind
