"""Indexes that only readers need: not of a new database, made once and to the end, and none that we look up by."""

import pytest
import sqlalchemy as sa

from fc_pipeline.store import later_indexes
from fc_pipeline.store.advisory_locks import MAKING_INDEXES, attempted
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.counts import COUNT_TABLES, Count
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.postgres import Database

LATER = [
    f"{table.schema}.{table.index_name(index)}"
    for table in ALL_TABLES.values()
    for index in table.indexes
    if index.is_made_later
]
_TEXT = "public.casts_text_idx"
_CASTS = [name for name in LATER if name.startswith("public.casts_")]
_LOST = {
    f"DROP INDEX {_TEXT}": [_TEXT],
    # As one that was broken off leaves it.
    f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('{_TEXT}')": [_TEXT],
    "DROP TABLE casts CASCADE": _CASTS,
}


def missing(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        return later_indexes.missing(connection)


def test_a_new_database_has_none_and_they_are_made_once(empty_database: Database) -> None:
    ensure_schema(empty_database.engine)
    assert missing(empty_database) == LATER
    assert {_TEXT, "public.casts_change_id_idx", "public.cast_mentions_mentioned_fid_network_time_idx"} <= set(LATER)
    with attempted(empty_database.engine, MAKING_INDEXES):
        assert later_indexes.make(empty_database.engine) == []  # another session is at it
    assert later_indexes.make(empty_database.engine) == LATER
    assert later_indexes.make(empty_database.engine) == missing(empty_database) == []


def test_one_that_is_lost_or_was_broken_off_is_made_anew(database: Database) -> None:
    later_indexes.make(database.engine)
    for statement, lost in _LOST.items():
        with database.engine.begin() as connection:
            connection.execute(sa.text(statement))
        ensure_schema(database.engine)
        assert missing(database) == lost, statement
        assert later_indexes.make(database.engine) == lost, statement
    assert missing(database) == []


@pytest.mark.parametrize("count", [one for table in COUNT_TABLES for one in table.counts], ids=lambda one: one.name)
def test_what_is_counted_of_a_key_is_found_by_an_index_from_the_start(count: Count) -> None:
    at_once = {(one.expressions or one.columns)[0] for one in count.source.indexes if not one.is_made_later}
    assert count.key in at_once | {count.source.key[0]}
