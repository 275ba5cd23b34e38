"""Statements with named parameters mean the same to either driver."""

import sqlalchemy as sa

from fc_pipeline.store.query import numbered, query_of
from fc_pipeline.store.session import make_engine
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline_tests.support.postgres import Database

# A cast by two colons, a parameter that is named twice, a per cent sign, a dollar sign.
SUM = sa.text(
    "SELECT CAST(:one AS bigint) + CAST(:one AS bigint) + CAST(:other AS bigint), '5 %'::text, '$1', "
    "4 = ANY (CAST(string_to_array(:listed, ',') AS bigint[]))"
)


def test_both_drivers_give_the_same_rows(database: Database) -> None:
    parameters = {"other": 30, "one": 2**40, "listed": "3,4"}
    expected = [(2**41 + 30, "5 %", "$1", True)]
    session = WriterSession(database.url)
    session.open()
    assert session.query(SUM, **parameters) == expected
    assert session.query(sa.text("SELECT 1")) == [(1,)]
    session.close()
    engine = make_engine(database.url)
    with engine.connect() as connection:
        assert query_of(connection)(SUM, **parameters) == expected
    engine.dispose()


def test_a_parameter_has_one_number_wherever_it_is_named() -> None:
    text, names = numbered(sa.text("SELECT :second, :first, :second"))
    assert (text, names) == ("SELECT $1, $2, $1", ("second", "first"))
