"""What the statements of a fold read: the rows of its scopes, whatever else the tables hold."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, text

from fc_pipeline.fold import merging
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.store import attribution, derived
from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.derived_table import DerivedTable, NewRows
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS
from fc_pipeline.tables.registry import DERIVED_TABLES, MESSAGE_TABLES
from fc_pipeline_tests.support.any_order import generated_log
from fc_pipeline_tests.support.events import micro_batch
from fc_pipeline_tests.support.postgres import Database

EVENTS = 400
"""So few that a table is a page or two, as of a new replica whose tables the server has just analyzed."""


@pytest.fixture(params=[False, True], ids=["nothing known", "small tables known"])
def connection(database: Database, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """Within a fold's transaction, on tables of which the server knows nothing, or that they are small."""
    if request.param:
        with FoldSession(database.url, "small tables") as session:
            for shard, blocks in generated_log(seed=7, events=EVENTS).items():
                session.fold(micro_batch(blocks, shard=shard, shard_count=2))
        with database.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")
    with database.engine.begin() as connection:
        connection.execute(text(merging.KEYED_PLANS))
        for table in (*MESSAGE_TABLES.values(), LINK_COMPACTIONS):
            connection.exec_driver_sql(merging.create_staging(table))
        yield connection


def reads_by_key(connection: Connection, statement: str) -> None:
    """No plan reads a table through, or keeps it, to compare each row with; what is staged is read as a whole."""
    plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}"))
    assert "Materialize" not in plan, plan
    for line in plan.splitlines():
        assert not re.search(r"Seq Scan on (?!stage_|scope_|new_)", line), plan
    assert re.findall(r"Index (?:Only )?Scan (?!using scope_).*\n(?! *Index Cond)", plan) == [], plan


@pytest.mark.parametrize("one", DERIVED_TABLES, ids=lambda one: one.name)
def test_a_derivation_looks_each_row_up_by_itself(connection: Connection, one: DerivedTable) -> None:
    connection.exec_driver_sql(derived.create_scope(one))
    for source in one.touched.keys() & MESSAGE_TABLES.keys():
        relations = [(source, merging.stage_name(MESSAGE_TABLES[source]))]
        reads_by_key(connection, derived.stage_touched(one, relations))
        reads_by_key(connection, derived.is_touched(one, relations))
    for statement in (derived.lock(one), derived.derive(one), *attribution.after(one)):
        reads_by_key(connection, statement)


@pytest.mark.parametrize(
    ("one", "new"), [(one, one.new_rows) for one in DERIVED_TABLES if one.new_rows], ids=lambda one: one.name
)
def test_what_new_rows_make_is_looked_up_by_itself(connection: Connection, one: DerivedTable, new: NewRows) -> None:
    connection.exec_driver_sql(derived.create_new_rows(new))
    reads_by_key(connection, merging.merge(MESSAGE_TABLES[new.source], new))
    connection.exec_driver_sql(merging.HASHED_JOINS.format("on"))
    reads_by_key(connection, derived.derive_new(one, new))


@pytest.mark.parametrize("table", MESSAGE_TABLES.values(), ids=lambda table: table.name)
def test_a_merge_looks_each_row_up_by_itself(connection: Connection, table: DataTable) -> None:
    reads_by_key(connection, merging.merge(table))


def test_links_are_masked_one_by_one(connection: Connection) -> None:
    for statement in (merging.MASK_STAGED_LINKS, merging.MASK_BY_NEW_COMPACTIONS):
        reads_by_key(connection, statement)
