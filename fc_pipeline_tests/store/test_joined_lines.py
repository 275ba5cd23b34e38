"""Lines of hours that are over are joined, and nobody who reads the ledger concludes anything else."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.lake.event_log import EventLog
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.replica import Replica
from fc_pipeline.status import by_hour, closed_hours
from fc_pipeline.store import coverage, covered_heights, hour_events, hour_totals, ledger
from fc_pipeline.store.bookkeeping import COVERAGE
from fc_pipeline.store.joined_lines import join_lines
from fc_pipeline.store.ledger import TOTALS, NewlyWritten
from fc_pipeline.store.query import query_of
from fc_pipeline.store.schema import NEWEST_REVISION
from fc_pipeline_tests.support.events import HOUR_UNIX, blocks_of, cast_add, merge, micro_batch
from fc_pipeline_tests.support.folded import FoldedDatabase

TABLES = (("casts",), ("casts", "links"))
HOURS = [Hour.of(HOUR_UNIX + n * HOUR_SECONDS) for n in range(4)]
DAY = 86_400


@dataclass(frozen=True)
class Line:
    """A line of the ledger: how many blocks after the one before it begins, how many it has, and what it says."""

    skipped: int
    blocks: int
    hours_later: int
    tables: tuple[str, ...]
    is_counted: bool
    is_old: bool
    has_hash: bool
    events: int
    confirmed: int


lines = st.builds(
    Line,
    st.sampled_from([0, 0, 0, 0, 3]),
    st.integers(1, 20),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([TABLES[0], TABLES[0], TABLES[0], TABLES[1]]),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([True, True, True, False]),
    st.booleans(),
    st.integers(0, 9),
    st.integers(0, 9),
)


def values_of(ledgers: Sequence[Sequence[Line]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for shard, several in enumerate(ledgers, 1):
        height, hour = 100, 0
        for number, line in enumerate(several):
            first = height + line.skipped
            height, hour = first + line.blocks, min(hour + line.hours_later, len(HOURS) - 1)
            total = line.events if line.is_counted else None
            found.append(
                {
                    "shard": shard,
                    "from_height": first,
                    "to_height": height - 1,
                    "tables": list(line.tables),
                    "partition": HOURS[hour].key,
                    "run_id": f"run-{number}",
                    "events": line.events,
                    "confirmed_events": line.confirmed,
                    "rows_written": line.events * 2,
                    "last_block_at": datetime.fromtimestamp(HOUR_UNIX + height, UTC),
                    "last_block_hash": bytes([number]) if line.has_hash else None,
                    "committed_at": sa.func.now() - sa.func.make_interval(0, 0, 0, 0, 0, 0, 2 * DAY * line.is_old),
                    **dict.fromkeys(TOTALS, total),
                }
            )
    return found


def conclusions(replica: Replica) -> dict[str, Any]:
    """What every function that reads the ledger answers, but for the hash of a block within an hour."""
    found: dict[str, Any] = {}
    with replica.engine.connect() as connection:
        query = query_of(connection)
        found["heights"] = covered_heights.extents(query)
        found["events"] = coverage.events_by_hour(query), coverage.event_totals(query)
        found["hours"] = ledger.covered_partitions(connection), ledger.newest_partition(connection)
        found["written"] = [ledger.partitions_written_since(connection, seconds) for seconds in (60, DAY, 3 * DAY)]
        found["unfinished"] = [ledger.unfinished_partitions(connection, tables) for tables in TABLES]
        found["counted"] = hour_events.counted_hours(connection, HOURS[0])
        for hour in HOURS:
            totals = hour_totals.totals_of_hour(connection, hour.key)
            found[f"totals {hour.key}"] = totals
            found[f"shards {hour.key}"] = ledger.covered_shards(connection, hour.key)
        for shard in (1, 2):
            found[f"spans {shard}"] = covered_heights.spans(query, shard)
            found[f"ends {shard}"] = (
                ledger.first_covered(connection, shard),
                ledger.last_covered(connection, shard),
                ledger.last_block_hash(connection, shard, 10**6),
            )
            for height in range(95, 200, 9):
                held = ledger.line_of(connection, shard, height)
                found[f"height {shard} {height}"] = (
                    ledger.is_covered(connection, shard, height),
                    held and held[0],
                    ledger.partitions_of(connection, shard, HeightRange(height, height + 30)),
                )
            for hour in HOURS:
                for tables in ((), *TABLES):
                    of_hour = ledger.covered(connection, shard, partition=hour.key, tables=tables)
                    found[f"hour {shard} {hour.key} {tables}"] = {
                        height for one in of_hour for height in range(one.first, one.last + 1)
                    }
    found["holes"], found["counts"] = by_hour.find_holes(replica), by_hour.event_counts(replica)
    found["closed"] = closed_hours.complete_hours(replica)
    return found


@pytest.fixture
def opened(replica: FoldedDatabase, tmp_path: Any) -> Replica:
    config = Settings(data_dir=tmp_path, lake_uri=str(tmp_path), postgres_url=replica.url)
    return Replica(config, replica.engine, EventLog(LakeStorage.open(str(tmp_path))))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(st.lists(lines, max_size=10), st.lists(lines, max_size=5)))
def test_nobody_concludes_anything_else(opened: Replica, ledgers: tuple[list[Line], list[Line]]) -> None:
    with opened.engine.begin() as connection:
        for statement in ("DELETE FROM pipeline.coverage", "DELETE FROM pipeline.shards"):
            connection.execute(sa.text(statement))
        for shard in (1, 2):
            origin = datetime.fromtimestamp(HOUR_UNIX, UTC)
            ledger.record_origin(connection, ledger.ShardOrigin(shard, 100, origin, 2))
        for values in values_of(ledgers):
            connection.execute(sa.insert(COVERAGE).values(values))
    before = conclusions(opened)
    join_lines(opened.engine)
    assert conclusions(opened) == before
    assert join_lines(opened.engine) == 0
    with opened.engine.connect() as connection:
        old = [
            (a, b)
            for a, b in _adjacent(connection)
            if (a.shard, a.partition, a.tables) == (b.shard, b.partition, b.tables)
            and a.to_height + 1 == b.from_height
            and (a.events_with_rows is None) == (b.events_with_rows is None)
            and (a.last_block_hash is None) == (b.last_block_hash is None)
            and a.is_old
            and b.is_old
        ]
    assert old == []


def _adjacent(connection: sa.Connection) -> list[tuple[Any, Any]]:
    found = connection.execute(
        sa.text(
            "SELECT *, committed_at < now() - interval '1 day' AS is_old FROM pipeline.coverage "
            "ORDER BY shard, from_height"
        )
    ).all()
    return list(pairwise(found))


def folded_by_runs(replica: FoldedDatabase, *, runs: int = 5) -> None:
    blocks = blocks_of(*([merge(cast_add(1, f"cast {n}"))] for n in range(2 * runs)))
    heights = sorted(blocks)
    for number in range(runs):
        with FoldSession(replica.url, f"run-{number}") as session:
            session.fold(micro_batch(blocks, heights[2 * number], heights[2 * number + 1]))


def test_a_line_per_hour_is_left_of_one_per_run(replica: FoldedDatabase) -> None:
    folded_by_runs(replica)
    assert join_lines(replica.engine) == 0  # somebody may still ask what was folded lately
    before = replica.rows(
        "SELECT sum(events), sum(micro_batches), max(committed_at), max(to_height) FROM pipeline.coverage"
    )
    assert join_lines(replica.engine, settled_seconds=0) == 4
    (line,) = replica.rows("SELECT * FROM pipeline.coverage")
    assert (line.run_id, line.to_height - line.from_height) == ("run-4", 9)
    assert [(line.events, line.micro_batches, line.committed_at, line.to_height)] == before


def test_what_becomes_of_events_is_noted_though_lines_were_joined_meanwhile(replica: FoldedDatabase) -> None:
    """A run that folds an hour again knows the lines as they were when it began."""
    folded_by_runs(replica)
    (first, *_, last) = replica.rows("SELECT * FROM pipeline.coverage ORDER BY from_height")
    replica.engine.dispose()
    with replica.engine.begin() as connection:
        connection.execute(sa.text("UPDATE pipeline.coverage SET events_filtered = 2, events_with_rows = 0"))
    join_lines(replica.engine, settled_seconds=0)
    news = {line.from_height: NewlyWritten(1, 1) for line in (first, last)}
    with replica.engine.begin() as connection:
        ledger.add_tables(connection, 1, first.partition, last.to_height, ["more"], news)
    (line,) = replica.rows("SELECT * FROM pipeline.coverage")
    assert (line.events_with_rows, line.events_filtered, "more" in line.tables) == (2, 8, True)


def test_beside_folds_of_the_same_hour(replica: FoldedDatabase) -> None:
    blocks = blocks_of(*([merge(cast_add(1, f"cast {n}"))] for n in range(30)))
    heights = sorted(blocks)

    def fold(part: int) -> None:
        for at in range(part, len(heights), 3):
            with FoldSession(replica.url, f"run-{at}") as session:
                session.fold(micro_batch(blocks, heights[at], heights[at]))

    def join(_: int) -> None:
        for _ in range(12):
            join_lines(replica.engine, settled_seconds=0)

    with ThreadPoolExecutor(5) as pool:
        done = [pool.submit(fold, part) for part in range(3)] + [pool.submit(join, n) for n in range(2)]
        for one in done:
            one.result()
    join_lines(replica.engine, settled_seconds=0)
    (line,) = replica.rows("SELECT * FROM pipeline.coverage")
    assert (line.from_height, line.to_height, line.micro_batches) == (heights[0], heights[-1], 30)
    with replica.engine.connect() as connection:
        assert covered_heights.ranges(query_of(connection), 1) == [HeightRange(heights[0], heights[-1])]


def test_an_older_release_joins_nothing(replica: FoldedDatabase) -> None:
    folded_by_runs(replica)
    revise = sa.text("UPDATE pipeline.alembic_version SET version_num = :revision")
    with replica.engine.begin() as connection:
        connection.execute(revise, {"revision": "newer"})
    try:
        with pytest.raises(ConfigError, match="does not know: newer"):
            join_lines(replica.engine, settled_seconds=0)
    finally:
        with replica.engine.begin() as connection:
            connection.execute(revise, {"revision": NEWEST_REVISION})
    assert len(replica.rows("SELECT FROM pipeline.coverage")) == 5
