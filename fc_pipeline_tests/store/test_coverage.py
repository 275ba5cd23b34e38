"""What the ledger has, as every room reads it, through either driver."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.store import coverage, covered_heights
from fc_pipeline.store.coverage import CoveredLine
from fc_pipeline.store.query import Query, query_of
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.folded import FoldedDatabase

FIRST, SECOND = Hour.of(HOUR_UNIX), Hour.of(HOUR_UNIX + HOUR_SECONDS)
LINES = (
    CoveredLine(1, FIRST, HeightRange(10, 19), frozenset({"casts", "links"})),
    CoveredLine(1, SECOND, HeightRange(20, 39), frozenset({"casts"})),
    CoveredLine(2, FIRST, HeightRange(5, 9), frozenset()),
)
INSERT = sa.text(
    "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
    "confirmed_events, rows_written, last_block_at) VALUES (:shard, :first, :last, CAST(:tables AS text[]), "
    ":partition, 'run', :events, :confirmed, 0, now())"
)


@pytest.fixture(params=["sqlalchemy", "writers"])
def query(request: pytest.FixtureRequest, replica: FoldedDatabase) -> Iterator[Query]:
    if request.param == "sqlalchemy":
        with replica.engine.connect() as connection:
            yield query_of(connection)
        return
    session = WriterSession(replica.url)
    session.open()
    yield session.query
    session.close()


def insert(replica: FoldedDatabase) -> None:
    with replica.engine.begin() as connection:
        for number, line in enumerate(reversed(LINES), 1):
            values = {
                "shard": line.shard,
                "first": line.heights.first,
                "last": line.heights.last,
                "tables": sorted(line.tables),
                "partition": line.hour.key,
                "events": 10 * number,
                "confirmed": 11 * number,
            }
            connection.execute(INSERT, values)


def test_of_an_empty_ledger(query: Query) -> None:
    assert not coverage.is_anything_folded(query)
    assert (covered_heights.extents(query), coverage.event_totals(query), coverage.events_by_hour(query)) == (
        {},
        (0, 0),
        {},
    )
    assert coverage.lines_of_hours(query, [FIRST]) == coverage.lines_of_shard(query, 1, FIRST) == []
    assert covered_heights.spans(query, 1) == covered_heights.ranges(query, 1) == []


def test_of_lines(replica: FoldedDatabase, query: Query) -> None:
    insert(replica)
    assert coverage.is_anything_folded(query)
    assert coverage.lines_of_hours(query, [SECOND, FIRST]) == list(LINES)
    assert coverage.lines_of_hours(query, [SECOND]) == [LINES[1]]
    assert coverage.lines_of_hours(query, []) == []
    assert coverage.lines_of_shard(query, 1, FIRST) == [LINES[0]]
    assert covered_heights.spans(query, 1) == [(line.heights, line.tables) for line in LINES[:2]]
    assert covered_heights.extents(query) == {1: HeightRange(10, 39), 2: HeightRange(5, 9)}


def test_of_events(replica: FoldedDatabase, query: Query) -> None:
    insert(replica)
    assert list(coverage.events_by_hour(query).items()) == [(SECOND, 20), (FIRST, 40)]
    assert coverage.events_by_hour(query, [FIRST]) == {FIRST: 40}
    assert coverage.event_totals(query) == (60, 66)


def test_the_line_that_holds_a_height() -> None:
    assert [coverage.line_with(LINES[:2], height) for height in (10, 19, 20, 39)] == [*LINES[:1] * 2, *LINES[1:2] * 2]
