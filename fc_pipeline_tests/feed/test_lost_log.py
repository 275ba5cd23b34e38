"""Files of the raw log that are gone, cut short or changed: noticed, and read from the hub again while it has them."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fc_pipeline.errors import HubError, LakeError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.feed.run import compact_finished_hours
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.repair.raw_log import repair_recent_log
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status import health
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

HOUR = Hour(HOUR_UNIX)
SOON_UNIX = HOUR_UNIX + 3 * 3600.0
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut short": lambda whole: whole[: len(whole) // 2],
    "flipped bit": lambda whole: whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],  # in the footer
    "zeros": lambda whole: bytes(len(whole)),
}
SAME_LENGTH = ("flipped bit", "zeros")
QUICK = ("cut short", "flipped bit")
"""One of either length for `make test`."""


@pytest.fixture
def hub(lines: list[bytes]) -> Iterator[str]:
    with serving(log_from_lines(lines)) as url:
        yield url


@pytest.fixture
def bench(hub: str, database: Database, lake: Path) -> Iterator[Workbench]:
    """A replica with all of the log folded, several files per hour and shard."""
    with workbench(database, lake, hub, batch_events=400) as bench:
        bench.run()
        yield bench


def damage(bench: Workbench, lake: Path, how: str) -> LogFile:
    """Damage the second file of a shard."""
    file = bench.replica.log.files(HOUR, 2)[1]
    path = lake / file.path
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("how", [how if how in QUICK else pytest.param(how, marks=pytest.mark.slow) for how in DAMAGES])
def test_a_damaged_file_is_noticed_named_and_replaced(bench: Workbench, lake: Path, how: str) -> None:
    tables, events = bench.dump(), bench.logged()
    file = damage(bench, lake, how)
    with pytest.raises(LakeError, match="materialise hub_events for 2026-11-01-00:00") as caught:
        bench.rebuild()
    assert file.path in str(caught.value)
    assert bench.dump() == tables
    by_listing = health.lost_of(bench.replica, [HOUR], reading=False)
    by_reading = health.lost_of(bench.replica, [HOUR], reading=True)
    assert [one.path for one in by_reading[2].damaged] == [file.path]
    assert (2 in by_listing) == (how not in SAME_LENGTH)
    if how not in SAME_LENGTH:
        assert [(one.first, one.last) for one in by_listing[2].heights] == [(file.from_height, file.to_height)]

    progress = bench.run("again", HourWindow(HOUR, HOUR), verify_log=how in SAME_LENGTH)
    assert progress.events == 0  # nothing is folded twice
    assert health.lost_of(bench.replica, [HOUR], reading=True) == {}
    assert bench.logged() == events
    assert not (lake / file.path).exists()
    bench.rebuild()
    assert bench.dump() == tables


def test_what_no_hub_has_any_more_stays_where_it_is_and_is_told(
    bench: Workbench, database: Database, lake: Path, lines: list[bytes]
) -> None:
    file = damage(bench, lake, "cut short")
    with (
        serving(log_from_lines(lines), pruned_before_height={2: file.to_height + 1}) as forgetful,
        workbench(database, lake, forgetful) as later,
    ):
        later.run("again", HourWindow(HOUR, HOUR), ["hub_events"])
        assert (lake / file.path).exists()
        lost = health.lost_of(later.replica, [HOUR], reading=False)[2]
        assert [(one.first, one.last) for one in lost.heights] == [(file.from_height, file.to_height)]
        with pytest.raises(LakeError, match="put the file back from a copy of the lake"):
            later.rebuild()


def test_the_daily_look_mends_finished_hours_and_names_them(bench: Workbench, lake: Path) -> None:
    events = bench.logged()
    damage(bench, lake, "flipped bit")
    gone = bench.replica.log.files(HOUR.next, 1)[0]
    (lake / gone.path).unlink()
    assert repair_recent_log(bench.replica, "daily", now_unix=SOON_UNIX) == [HOUR, HOUR.next]
    assert bench.logged() == events
    assert repair_recent_log(bench.replica, "daily", now_unix=SOON_UNIX) == []
    damage(bench, lake, "zeros")
    assert repair_recent_log(bench.replica, "daily", now_unix=SOON_UNIX + 90 * 3600) == []  # no hub has them


@pytest.mark.usefixtures("no_pauses")
def test_with_no_hub_the_daily_look_fails_and_deletes_nothing(bench: Workbench, database: Database, lake: Path) -> None:
    file = damage(bench, lake, "zeros")
    with workbench(database, lake, "http://127.0.0.1:9") as offline, pytest.raises(HubError):
        repair_recent_log(offline.replica, "daily", now_unix=SOON_UNIX)
    assert (lake / file.path).read_bytes().strip(b"\0") == b""


def test_a_damaged_hour_does_not_keep_others_from_being_compacted(bench: Workbench, lake: Path) -> None:
    file = damage(bench, lake, "zeros")
    with pytest.raises(LakeError, match="checksum"):
        compact_finished_hours(bench.replica)
    assert (lake / file.path).exists()
    assert len(bench.replica.log.files(HOUR, 1)) == len(bench.replica.log.files(HOUR.next, 2)) == 1
    bench.run("again", HourWindow(HOUR, HOUR), verify_log=True)
    assert compact_finished_hours(bench.replica) > 0


@pytest.mark.slow
def test_a_lake_from_before_there_were_checksums_goes_on_working(bench: Workbench, lake: Path) -> None:
    tables, events = bench.dump(), bench.logged()
    for file in bench.replica.log.files(HOUR):
        old = lake / file.path
        old.rename(old.with_name(f"{file.from_height:012d}-{file.to_height:012d}.parquet"))
    assert bench.logged() == events
    assert health.lost_of(bench.replica, [HOUR], reading=True) == {}
    damaged = lake / bench.replica.log.files(HOUR, 2)[1].path
    damaged.write_bytes(damaged.read_bytes()[:-100])
    (lost,) = health.lost_of(bench.replica, [HOUR], reading=True).values()
    assert [file.path for file in lost.damaged] == [str(damaged.relative_to(lake))]
    bench.run("again", HourWindow(HOUR, HOUR), verify_log=True)
    assert bench.logged() == events
    assert not damaged.exists()
    compact_finished_hours(bench.replica)
    assert all(file.checksum for file in bench.replica.log.files(HOUR))
    assert bench.logged() == events
    bench.rebuild()
    assert bench.dump() == tables


def test_the_names_are_what_sha256sum_says(bench: Workbench, lake: Path) -> None:
    for file in bench.replica.log.files(HOUR):
        content = (lake / file.path).read_bytes()
        assert file.path.endswith(f".{len(content)}-{hashlib.sha256(content).hexdigest()[:16]}.parquet")
        assert pq.read_metadata(lake / file.path).num_rows > 0
