"""Indexes that are made when the replica has caught up: not by a start, once, and to the end."""

import sqlalchemy as sa

from fc_pipeline.store import later_indexes
from fc_pipeline.store.advisory_locks import MAKING_INDEXES, attempted
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.postgres import Database

LATER = ["public.casts_text_idx"]
_LOST = (
    "DROP INDEX public.casts_text_idx",
    # As one that was broken off leaves it.
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass('public.casts_text_idx')",
    "DROP TABLE casts CASCADE",
)


def test_a_start_leaves_them_out_and_they_are_made_once(database: Database) -> None:
    ensure_schema(database.engine)
    assert later_indexes.missing(database.engine) == LATER
    with attempted(database.engine, MAKING_INDEXES):
        assert later_indexes.make(database.engine) == []  # another session is at it
    assert later_indexes.make(database.engine) == LATER
    assert later_indexes.make(database.engine) == later_indexes.missing(database.engine) == []


def test_one_that_is_lost_or_was_broken_off_is_made_anew(database: Database) -> None:
    later_indexes.make(database.engine)
    for statement in _LOST:
        with database.engine.begin() as connection:
            connection.execute(sa.text(statement))
        ensure_schema(database.engine)
        assert later_indexes.missing(database.engine) == LATER, statement
        assert later_indexes.make(database.engine) == LATER, statement
    assert later_indexes.missing(database.engine) == []
