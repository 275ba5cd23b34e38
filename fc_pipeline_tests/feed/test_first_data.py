"""Where partitions begin: with the day of the first data, the same for every process, and never later than before."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.config.project import project_root
from fc_pipeline.feed.first_contact import place_partition_start_by_hub
from fc_pipeline.feed.first_data import place_partition_start
from fc_pipeline.hours import FIRST_HOUR, Hour
from fc_pipeline.orchestration.partitions import known_start
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store.partition_start import day_of, move_back, stored_start
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import project_environment
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

DAY = Hour(HOUR_UNIX // 86_400 * 86_400)


def stored(database: Database) -> Hour | None:
    with database.engine.connect() as connection:
        return stored_start(connection)


def loaded_elsewhere(**variables: str) -> subprocess.CompletedProcess[str]:
    """What another process takes for the first partition."""
    script = "from fc_pipeline.orchestration.partitions import HOURS; print(HOURS.get_first_partition_key())"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=project_root(),
        env=project_environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@given(st.integers(FIRST_HOUR.start_unix, 4_000_000_000))
def test_a_day_begins_at_midnight(unix: int):
    day = day_of(Hour.of(unix))
    assert 0 <= unix - day.start_unix < 86_400
    assert day.start.hour == 0


def test_nothing_is_older_than_the_networks_clock():
    assert day_of(Hour(0)) == FIRST_HOUR


def test_it_moves_back_and_never_forward(database: Database):
    assert stored(database) is None
    later, earlier = Hour.from_key("2026-11-03-15:00"), Hour.from_key("2026-11-02-09:00")
    assert move_back(database.engine, later) == day_of(later) == stored(database)
    assert move_back(database.engine, earlier) == day_of(earlier) == stored(database)
    assert move_back(database.engine, later) == day_of(earlier) == stored(database)


@pytest.mark.slow
def test_every_process_loads_what_is_stored(database: Database, tmp_path: Path):
    move_back(database.engine, Hour.from_key("2026-11-03-15:00"))
    found = loaded_elsewhere(FC_POSTGRES_URL=database.url, FC_DATA_DIR=str(tmp_path))
    assert found.stdout.strip() == "2026-11-03-00:00"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FC_POSTGRES_URL", "postgresql://127.0.0.1:9/none"),  # down
        ("FC_POSTGRES_URL", ""),  # the embedded server, off
        ("FC_BATCH_SECONDS", "soon"),  # a wrong setting, which runs and commands refuse
    ],
    ids=["down", "off", "wrong setting"],
)
def test_where_nobody_can_say_every_hour_of_the_network_is_known(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setenv(name, value)
    assert known_start() == FIRST_HOUR
    assert not (tmp_path / "none").exists()  # asking starts nothing


def test_a_database_without_tables_says_nothing(
    empty_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_POSTGRES_URL", empty_database.url)
    monkeypatch.setenv("FC_DATA_DIR", str(tmp_path))
    assert known_start() == FIRST_HOUR


def test_it_is_the_day_where_the_feed_begins(database: Database, tmp_path: Path):
    with (
        serving(log_of(casts_at(every_second(1000, HOUR_UNIX, 5)))) as url,
        workbench(database, tmp_path / "lake", url) as bench,
    ):
        assert place_partition_start(bench.replica) is None
        assert place_partition_start_by_hub(bench.replica) == DAY == stored(database)


def test_without_a_hub_it_waits(database: Database, tmp_path: Path):
    with workbench(database, tmp_path / "lake", "http://127.0.0.1:9") as bench:
        assert place_partition_start_by_hub(bench.replica) is None


def test_fc_start_says_it_where_it_is_earlier_than_the_feed(database: Database, tmp_path: Path):
    start = datetime(2026, 6, 5, 7, tzinfo=UTC)
    with workbench(database, tmp_path / "lake", "http://127.0.0.1:9", start=start) as bench:
        assert place_partition_start(bench.replica) == Hour.from_key("2026-06-05-00:00")


def test_a_log_of_the_first_year_begins_then(database: Database, tmp_path: Path):
    """Recorded hours that somebody puts into the lake are found although the feed begins years later."""
    with (
        serving(log_of(casts_at(every_second(1000, HOUR_UNIX, 5)))) as url,
        workbench(database, tmp_path / "lake", url) as bench,
    ):
        place_partition_start_by_hub(bench.replica)
        (tmp_path / "lake" / "hub_events" / "hour=2021-07-04T13" / "shard=1").mkdir(parents=True)
        assert place_partition_start(bench.replica) == DAY
        assert place_partition_start(bench.replica, by_log=True) == Hour.from_key("2021-07-04-00:00")
        assert place_partition_start(bench.replica) == Hour.from_key("2021-07-04-00:00")
