"""A new target reads only the hours of the raw log that name it, and misses nothing by that."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.errors import LakeError
from fc_pipeline.feed.outputs import OUTPUTS
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.hours import Hour
from fc_pipeline.lake.named_fids import NAMED_BELOW
from fc_pipeline.repair.named_hours import hours_to_read, look_through_recent
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import named_fids
from fc_pipeline.targets import owner
from fc_pipeline_tests.support.comparing import complete, execute
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

START_UNIX = 1_750_000_400 // 3600 * 3600
ROOT = 3


@pytest.fixture(scope="module", params=[10, pytest.param(100, marks=pytest.mark.slow)])
def bench(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    """A replica of one target, whose history of so many hours is complete: the log was looked through for it."""
    lines = generate(
        7,
        fids=9 * request.param,
        events=40 * request.param,
        start_unix=START_UNIX,
        blocks_per_second=1 / 900,
        events_per_second=40 / 3600,
    )
    lake = tmp_path_factory.mktemp("named") / "lake"
    settings = {"targets": "set", "root_fids": (ROOT,), "followed_per_root": 0}
    with (
        serving(log_from_lines(lines)) as url,
        fresh_database(postgres) as database,
        workbench(database, lake, url, **settings) as opened,
    ):
        opened.run(outputs=OUTPUTS)
        assert complete(opened).synced == 1
        assert len(opened.replica.log.hours()) >= request.param
        yield opened


def named_in(bench: Workbench) -> dict[int, set[Hour]]:
    """The hours that name each FID, as the log itself says when it is read for that one."""
    found: dict[int, set[Hour]] = {}
    log = bench.replica.log
    for hour in log.hours():
        for shard in (1, 2):
            for fid in log.named_fids(log.files(hour, shard)).tolist():
                found.setdefault(fid, set()).add(hour)
    return found


def users_of_two_hours(bench: Workbench) -> list[int]:
    registered = {row[0] for row in bench.rows("SELECT fid FROM pipeline.targets")}
    return [
        fid for fid, hours in sorted(named_in(bench).items()) if len(hours) == 2 and fid not in registered and fid > 20
    ]


def hide(bench: Workbench, hours: set[Hour], aside: Path) -> int:
    """Take the files of all other hours out of the lake; how many files are left."""
    folder = Path(bench.replica.settings.lake_uri) / "hub_events"
    aside.mkdir()
    for hour in set(bench.replica.log.hours()) - hours:
        shutil.move(folder / f"hour={hour.folder}", aside)
    return len(bench.replica.log.all_files())


def show(bench: Workbench, aside: Path) -> None:
    for one in aside.iterdir():
        shutil.move(one, Path(bench.replica.settings.lake_uri) / "hub_events")


def test_a_target_of_two_hours_reads_these(bench: Workbench, tmp_path: Path) -> None:
    naming = named_in(bench)
    fid = users_of_two_hours(bench)[0]
    owner.add_root(bench.replica.engine, [fid], follows=False, most_followed=None)
    assert set(hours_to_read(bench.replica, [fid])) == naming[fid]
    left = hide(bench, naming[fid], tmp_path / "aside")
    assert left <= 4
    done = complete(bench, "by hours")  # whatever else it would read is not there
    assert done.synced == 1
    assert done.events_replayed > 0
    show(bench, tmp_path / "aside")
    by_hours = bench.dump()
    execute(bench, "DELETE FROM pipeline.named_hours")
    execute(bench, f"UPDATE pipeline.targets SET synced_at = NULL WHERE fid = {fid}")
    assert complete(bench, "by all").events_replayed == done.events_replayed
    assert bench.dump() == by_hours


def test_what_is_not_looked_through_yet_is_read(bench: Workbench, tmp_path: Path) -> None:
    fid = users_of_two_hours(bench)[0]
    execute(bench, "DELETE FROM pipeline.named_hours")
    owner.add_root(bench.replica.engine, [fid], follows=False, most_followed=None)
    hide(bench, named_in(bench)[fid], tmp_path / "aside")
    with pytest.raises(LakeError, match="the raw log lacks heights"):
        complete(bench, "not there")
    show(bench, tmp_path / "aside")
    assert complete(bench, "there").synced == 1
    assert _unknown(bench) == []


def _unknown(bench: Workbench) -> list[tuple[Hour, int]]:
    with bench.replica.engine.connect() as connection:
        return named_fids.unknown_hours(connection)


def test_every_target_misses_nothing(bench: Workbench) -> None:
    """Some hundred at once are looked up, so many that all hours are read, and larger FIDs than are looked for."""
    replica = bench.replica
    all_hours = hours_to_read(replica, [])
    assert all_hours == replica.log.hours()
    naming = named_in(bench)
    for fid, hours in naming.items():
        assert hours_to_read(replica, [fid]) == sorted(hours)
    few = sorted(naming)[:500]
    assert set(hours_to_read(replica, few)) == set().union(*(naming[fid] for fid in few))
    assert hours_to_read(replica, range(1, 502)) == all_hours
    assert hours_to_read(replica, [NAMED_BELOW]) == all_hours
    assert hours_to_read(replica, [NAMED_BELOW - 1]) == []


def test_what_is_stored_once_more_is_looked_through_once_more(bench: Workbench) -> None:
    hour = bench.replica.log.hours()[5]
    (batch, *_) = bench.replica.log.read(bench.replica.log.files(hour, 1))
    with BatchWriter(bench.replica, "again", OUTPUTS, Progress()) as writer:
        writer.store(hour, batch)
    assert _unknown(bench) == [(hour, 1)]
    look_through_recent(bench.replica, should_stop=lambda: False)
    assert _unknown(bench) == []
