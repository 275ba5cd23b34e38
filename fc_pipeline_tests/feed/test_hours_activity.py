"""`fid_activity` of an hour that is still being written: right at every moment, and counted once however often read."""

import json
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.tables.fid_activity import ACTIVITY_COUNTS
from fc_pipeline_tests.support.activity import plainly
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

WINDOW = HourWindow(Hour(HOUR_UNIX), Hour(HOUR_UNIX))


def counted(bench: Workbench) -> Counter[tuple[int, str]]:
    rows = bench.rows(f"SELECT fid, {', '.join(ACTIVITY_COUNTS)} FROM fid_activity")
    assert len({row.fid for row in rows}) == len(rows)
    return Counter({(row.fid, name): n for row in rows for name in ACTIVITY_COUNTS if (n := getattr(row, name))})


@pytest.mark.slow
def test_it_is_right_while_the_hour_is_written_and_after_every_replay(
    database: Database, other_database: Database, tmp_path: Path
) -> None:
    lines = list(generate(5, fids=30, events=1200, start_unix=HOUR_UNIX, events_per_second=40))
    lake = tmp_path / "lake"
    for read in (400, 800, len(lines)):
        while read < len(lines) and "blockConfirmedBody" not in json.loads(lines[read]):
            read += 1  # a hub has whole blocks only
        expected = plainly([json.loads(line) for line in lines[:read]])
        with serving(log_from_lines(lines[:read])) as url, workbench(database, lake, url, batch_events=100) as bench:
            bench.run(f"first {read}")
            assert counted(bench) == expected
            bench.run(f"once more {read}", WINDOW, rebuild=True)
            assert counted(bench) == expected
    assert sum(expected.values()) > 500
    with workbench(database, lake) as bench:
        with bench.replica.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM fid_activity WHERE fid % 2 = 0"))
        bench.rebuild("fid_activity", window=WINDOW)
        assert counted(bench) == expected
    with workbench(other_database, lake) as bench:
        bench.rebuild()
        assert counted(bench) == expected
