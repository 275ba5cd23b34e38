"""Hours as Dagster's partitions: every hour of block time is one, the present hour included, and none is another."""

from datetime import UTC, datetime
from itertools import pairwise

from dagster import TimeWindow
from dagster._core.definitions.partitions.context import partition_loading_context
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import FIRST_HOUR, Hour
from fc_pipeline.orchestration.partitions import hour_window, hours_from

HOURS = hours_from(FIRST_HOUR)
unix_times = st.integers(FIRST_HOUR.start_unix, 4_000_000_000)


@given(unix_times)
def test_the_partition_of_a_time_is_its_hour(unix: int):
    window = HOURS.time_window_for_partition_key(Hour.of(unix).key)
    assert window.start.timestamp() <= unix < window.end.timestamp()
    assert window.start.timestamp() == Hour.of(unix).start_unix


def test_the_first_hour_of_the_network_and_the_present_one_are_partitions():
    now = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
    assert HOURS.get_first_partition_key() == FIRST_HOUR.key == "2021-01-01-00:00"
    with partition_loading_context(effective_dt=now):
        assert HOURS.get_last_partition_key() == "2026-11-01-10:00"
        assert HOURS.has_partition_key("2026-11-01-10:00")
        assert not HOURS.has_partition_key("2026-11-01-11:00")


@given(unix_times, st.integers(1, 100))
def test_a_range_of_partitions_is_a_window_of_hours(unix: int, hours: int):
    first = Hour.of(unix)
    last = Hour(first.start_unix + (hours - 1) * 3600)
    window = hour_window(
        TimeWindow(
            HOURS.time_window_for_partition_key(first.key).start, HOURS.time_window_for_partition_key(last.key).end
        )
    )
    assert (window.first, window.last) == (first, last)
    assert Hour(first.start_unix - 3600) not in window
    assert last in window
    assert last.next not in window


def test_no_hour_is_lost_where_clocks_change():
    """Partitions are in UTC: the hours around a European or American change of clocks are all there."""
    for day in ("2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01"):
        keys = [f"{day}-{hour:02}:00" for hour in range(24)]
        starts = [HOURS.time_window_for_partition_key(key).start.timestamp() for key in keys]
        assert [later - earlier for earlier, later in pairwise(starts)] == [3600] * 23
