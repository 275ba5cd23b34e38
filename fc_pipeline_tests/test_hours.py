from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.hours import FIRST_HOUR, HOUR_SECONDS, Hour

unix_times = st.integers(FIRST_HOUR.start_unix, 4_102_444_800)


@given(unix_times)
def test_a_time_lies_in_its_hour_and_in_no_other(unix: int) -> None:
    hour = Hour.of(unix)
    assert hour.contains(unix)
    assert hour.start_unix % HOUR_SECONDS == 0
    assert not hour.next.contains(unix)
    assert not hour.contains(hour.end_unix)
    assert hour.next.start_unix == hour.end_unix
    assert hour < hour.next


@given(unix_times)
def test_the_key_and_back(unix: int) -> None:
    hour = Hour.of(unix)
    assert Hour.from_key(hour.key) == hour
    assert hour.start == datetime.fromtimestamp(unix, UTC).replace(minute=0, second=0, microsecond=0)


def test_keys_and_folders_are_utc_and_read_as_dagster_writes_them() -> None:
    hour = Hour.of(datetime(2026, 10, 25, 1, 59, 59, tzinfo=UTC).timestamp())
    assert (hour.key, hour.folder) == ("2026-10-25-01:00", "2026-10-25T01")
    # The clocks of Central Europe show this hour twice: UTC does not.
    assert [hour.key, hour.next.key, hour.next.next.key] == ["2026-10-25-01:00", "2026-10-25-02:00", "2026-10-25-03:00"]
    assert hour.next.start - hour.start == timedelta(hours=1)


def test_a_time_with_a_fraction_belongs_to_the_hour_that_has_begun() -> None:
    assert Hour.of(FIRST_HOUR.end_unix - 0.001) == FIRST_HOUR
    assert Hour.of(float(FIRST_HOUR.end_unix)) == FIRST_HOUR.next


@pytest.mark.parametrize("key", ["", "2026-11-23", "2026-11-23T12:00", "2026-11-23-24:00", "2026-13-01-00:00"])
def test_another_format_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"full hour|must be in 1..12"):
        Hour.from_key(key)


@pytest.mark.parametrize("key", ["2026-11-23-12:30", "2026-11-23-12:01"])
def test_a_key_inside_an_hour_is_no_partition(key: str) -> None:
    with pytest.raises(ValueError, match="full hour"):
        Hour.from_key(key)
