"""The ledger's heights as ranges: whatever happens to its lines, they say the same."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.store import covered_heights, ledger
from fc_pipeline.store.query import query_of
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.folded import FoldedDatabase

TABLE_SETS = ((), ("casts",), ("casts", "links"), ("links",))
INSERT = sa.text(
    "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
    "confirmed_events, rows_written, last_block_at) SELECT :s, :f, :t, CAST(:tables AS text[]), 'hour', 'run', 0, 0, "
    "0, now() WHERE NOT EXISTS (SELECT FROM pipeline.coverage WHERE shard = :s AND from_height <= :t "
    "AND to_height >= :f)"
)
CHANGES = {
    "grow": "UPDATE pipeline.coverage AS c SET to_height = to_height + 3 WHERE shard = :s AND from_height <= :f "
    "AND NOT EXISTS (SELECT FROM pipeline.coverage WHERE shard = c.shard AND from_height > c.from_height "
    "AND from_height <= c.to_height + 3)",
    "cut": "UPDATE pipeline.coverage SET from_height = from_height + 1 WHERE shard = :s AND from_height < to_height",
    "move": "UPDATE pipeline.coverage SET shard = 3 - shard WHERE from_height = :f AND NOT EXISTS (SELECT FROM "
    "pipeline.coverage AS o WHERE o.shard <> coverage.shard AND o.from_height <= coverage.to_height "
    "AND o.to_height >= coverage.from_height)",
    "write": "UPDATE pipeline.coverage SET tables = :tables WHERE shard = :s AND from_height >= :f",
    "touch": "UPDATE pipeline.coverage SET committed_at = now()",
    "delete": "DELETE FROM pipeline.coverage WHERE shard = :s AND from_height BETWEEN :f AND :t",
    "empty": "TRUNCATE pipeline.coverage",
}
steps = st.tuples(
    st.sampled_from(["insert", "insert", "insert", *CHANGES]),
    st.integers(1, 2),
    st.integers(0, 40),
    st.integers(0, 6),
    st.sampled_from(TABLE_SETS),
)


def by_lines(connection: sa.Connection, shard: int, tables: Iterable[str] = ()) -> set[int]:
    """The heights that the lines themselves have, of those that were written to all of `tables`."""
    lines = connection.execute(
        sa.text("SELECT from_height, to_height, tables FROM pipeline.coverage WHERE shard = :s"), {"s": shard}
    )
    return {h for first, last, names in lines if set(tables) <= set(names) for h in range(first, last + 1)}


def agree(connection: sa.Connection) -> None:
    query = query_of(connection)
    for shard in (1, 2):
        for tables in TABLE_SETS:
            found = covered_heights.ranges(query, shard, tables)
            assert {h for r in found for h in range(r.first, r.last + 1)} == by_lines(connection, shard, tables)
            assert all(a.last + 1 < b.first for a, b in pairwise(found))
        spans = covered_heights.spans(query, shard)
        assert {h for s in spans for h in range(s.heights.first, s.heights.last + 1)} == by_lines(connection, shard)
        assert all(a.last + 1 < b.first or a_of != b_of for (a, a_of), (b, b_of) in pairwise(spans))
        heights = by_lines(connection, shard)
        extent = covered_heights.extents(query).get(shard)
        assert (extent.first, extent.last) == (min(heights), max(heights)) if extent else not heights
    assert connection.scalar(sa.text("SELECT count(*) FROM pipeline.covered_heights WHERE isempty(heights)")) == 0
    lacking = set(
        connection.scalars(sa.text("SELECT partition FROM pipeline.coverage WHERE NOT tables @> ARRAY['casts']"))
    )
    assert set(ledger.unfinished_partitions(connection, ["casts"])) == lacking


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(steps, max_size=15))
def test_ranges_are_those_of_the_lines(
    replica: FoldedDatabase, changes: list[tuple[str, int, int, int, tuple[str, ...]]]
) -> None:
    with replica.engine.connect() as connection, connection.begin() as transaction:
        for kind, shard, first, more, tables in changes:
            values = {"s": shard, "f": first, "t": first + more, "tables": list(tables)}
            connection.execute(INSERT if kind == "insert" else sa.text(CHANGES[kind]), values)
            agree(connection)
        ledger.forget_table(connection, "links")
        agree(connection)
        ledger.note_derived(connection, "links", ["casts"])
        agree(connection)
        transaction.rollback()


def test_writers_at_once_lose_nothing(replica: FoldedDatabase) -> None:
    def write(writer: int) -> None:
        for number in range(40):
            height = 4 * number + writer
            values = {"s": 1, "f": height, "t": height, "tables": ["casts"]}
            with replica.engine.begin() as connection:
                connection.execute(INSERT, values)
            if number % 5 == 0:
                with replica.engine.begin() as connection:
                    connection.execute(sa.text(CHANGES["delete"]), values)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    with replica.engine.connect() as connection:
        agree(connection)


def test_a_replica_of_an_older_release_gets_them_from_its_lines(replica: FoldedDatabase) -> None:
    with replica.engine.begin() as connection:
        connection.execute(INSERT, {"s": 1, "f": 5, "t": 9, "tables": ["casts"]})
        connection.execute(sa.text("DROP TABLE pipeline.covered_heights"))
    ensure_schema(replica.engine)
    with replica.engine.connect() as connection:
        assert by_lines(connection, 1) == {5, 6, 7, 8, 9}
        agree(connection)
