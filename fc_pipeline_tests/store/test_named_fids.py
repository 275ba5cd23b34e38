"""Which hours name an FID: kept in pages, found again, and unknown as soon as the ledger covers more."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.store import named_fids
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.folded import FoldedDatabase

FIRST, SECOND = Hour.of(HOUR_UNIX), Hour.of(HOUR_UNIX + HOUR_SECONDS)
COVER = sa.text(
    "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
    "confirmed_events, rows_written, last_block_at) VALUES (1, :first, :last, '{}', :hour, 'run', 0, 0, 0, now())"
)


def fids(*numbers: int) -> np.ndarray:
    return np.array(sorted(numbers), dtype=np.uint32)


@given(st.sets(st.integers(0, 2**16 - 1), min_size=1))
def test_a_page_is_what_it_was(numbers: set[int]) -> None:
    offsets = np.array(sorted(numbers), dtype=np.uint16)
    assert named_fids.unpacked(named_fids.packed(offsets)).tolist() == offsets.tolist()


def test_hours_that_name_a_fid(replica: FoldedDatabase) -> None:
    with replica.engine.begin() as connection:
        named_fids.note(connection, FIRST, 1, [(1, 9)], fids(0, 3, 65_535, 65_536, 3_349_999))
        named_fids.note(connection, FIRST, 2, [(1, 9)], fids())
        named_fids.note(connection, SECOND, 2, [(1, 9), (11, 12)], fids(3, 65_537, 2**24 - 1))
        for one, hours in {
            0: {FIRST},
            3: {FIRST, SECOND},
            65_535: {FIRST},
            65_536: {FIRST},
            65_537: {SECOND},
            3_349_999: {FIRST},
            2**24 - 1: {SECOND},
            4: set(),
            3_350_000: set(),
        }.items():
            assert named_fids.hours_naming(connection, [one]) == hours
        assert named_fids.hours_naming(connection, [65_536, 65_537]) == {FIRST, SECOND}
        named_fids.note(connection, SECOND, 2, [(1, 20)], fids(8))
        assert named_fids.hours_naming(connection, [3]) == {FIRST}
        named_fids.forget(connection, FIRST, 1)
        assert named_fids.hours_naming(connection, [3, 65_535]) == set()


def test_two_that_look_through_an_hour_at_once_note_it_once(replica: FoldedDatabase) -> None:
    def note(number: int) -> None:
        for _ in range(20):
            with replica.engine.begin() as connection:
                named_fids.note(connection, FIRST, 1, [(1, 9)], fids(number, 70_000))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(note, (1, 2, 3)))
    with replica.engine.connect() as connection:
        assert named_fids.hours_naming(connection, [70_000]) == {FIRST}
        assert sum(bool(named_fids.hours_naming(connection, [number])) for number in (1, 2, 3)) == 1


def test_an_hour_is_unknown_as_soon_as_more_of_it_is_covered(replica: FoldedDatabase) -> None:
    with replica.engine.begin() as connection:
        for first, last, hour in ((1, 9, FIRST), (12, 14, FIRST), (20, 29, SECOND)):
            connection.execute(COVER, {"first": first, "last": last, "hour": hour.key})
        assert named_fids.unknown_hours(connection) == [(FIRST, 1), (SECOND, 1)]
        named_fids.note(connection, FIRST, 1, [(1, 9), (12, 14)], fids(1))
        assert named_fids.unknown_hours(connection) == [(SECOND, 1)]
        connection.execute(COVER, {"first": 10, "last": 11, "hour": FIRST.key})
        assert named_fids.unknown_hours(connection) == [(FIRST, 1), (SECOND, 1)]
        named_fids.note(connection, FIRST, 1, [(1, 14)], fids(1))
        assert named_fids.unknown_hours(connection) == [(SECOND, 1)]


def test_where_the_pages_were_lost_nothing_is_known(replica: FoldedDatabase) -> None:
    with replica.engine.begin() as connection:
        connection.execute(COVER, {"first": 1, "last": 9, "hour": FIRST.key})
        named_fids.note(connection, FIRST, 1, [(1, 9)], fids(1))
        assert named_fids.unknown_hours(connection) == []
        connection.execute(sa.text("DROP TABLE pipeline.named_fids"))
    ensure_schema(replica.engine)
    with replica.engine.connect() as connection:
        assert named_fids.unknown_hours(connection) == [(FIRST, 1)]
