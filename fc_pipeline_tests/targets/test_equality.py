"""Only targets: the tables hold exactly the rows that the rule selects from the full replica."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.comparing import (
    assert_same,
    complete,
    expected_targets,
    root_that_follows,
    targets_of,
)
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

CLIENT = 9152


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A hub of 320 users whose log crosses an hour."""
    lines = generate(
        11, fids=320, events=14_000, events_per_second=60.0, start_unix=HOUR_UNIX + 3600 - 100, huge_fids=True
    )
    with serving(log_from_lines(lines)) as served:
        yield served


@pytest.fixture(scope="module")
def full(url: str, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    lake = tmp_path_factory.mktemp("full")
    with fresh_database(postgres) as database, workbench(database, lake, url) as bench:
        bench.run()
        yield bench


@pytest.mark.slow
def test_the_rows_of_one_root_and_whom_it_follows(
    full: Workbench, url: str, database: Database, tmp_path: Path, redis_url: str
):
    root = root_that_follows(full)
    with workbench(database, tmp_path / "lake", url, targets="set", root_fids=(root,), redis_url=redis_url) as bench:
        bench.run()
        expected = expected_targets(full, [root])
        assert len(expected) > 5
        assert targets_of(bench) == expected
        done = complete(bench)
        assert done.synced == len(expected)
        assert targets_of(bench) == expected
        assert_same(bench, full, expected)


@pytest.mark.slow
def test_hours_newest_first(full: Workbench, url: str, database: Database, tmp_path: Path, redis_url: str):
    root = root_that_follows(full)
    with workbench(database, tmp_path / "lake", url, targets="set", root_fids=(root,), redis_url=redis_url) as bench:
        for hour in reversed(bench.missing_hours()):
            bench.run(f"run {hour.key}", HourWindow(hour, hour))
            complete(bench)
        expected = expected_targets(full, [root])
        assert targets_of(bench) == expected
        assert_same(bench, full, expected)
