"""Recorded data through the whole path: a served hub, runs, raw log, tables."""

import gzip
from pathlib import Path

import pytest

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.answers import (
    check_answers_of_the_recorded_hub,
    check_recorded_messages,
    pinata,
    recorded_blocks,
)
from fc_pipeline_tests.support.events import FIRST_HEIGHT, HOUR_UNIX, block
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench


@pytest.mark.slow
def test_a_recorded_hub_replayed_equals_its_recorded_by_fid_answers(
    database: Database, lake: Path, shared_fixtures: Path
) -> None:
    """Without BLOCK_CONFIRMED, and with heights left out; two casts hold U+0000."""
    hub = shared_fixtures / "hubble"
    path = hub / "snapchain_shape" / "events.ndjson.gz"
    with gzip.open(path) as lines:
        raws = [line.rstrip(b"\n") for line in lines]
    log = load_log(path)
    with serving(log) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert bench.missing_hours() == []
        assert bench.logged() == {1: list(log.shards[1].raws)}
        check_answers_of_the_recorded_hub(bench.tables, hub, raws)
        tables, quarantine = bench.dump(), bench.quarantine()
        for name in ("casts", "links"):
            bench.rebuild(name)
        bench.tables.empty()
        bench.rebuild()
        assert (bench.dump(), bench.quarantine()) == (tables, quarantine)


@pytest.mark.slow
def test_the_recorded_messages_of_the_live_network_land_whole(
    database: Database, lake: Path, shared_fixtures: Path, tmp_path: Path
) -> None:
    """A log of them in a file, a block per minute, so that they are in two hours and the newer is read first."""
    messages = pinata(shared_fixtures)
    path = tmp_path / "recorded.ndjson"
    blocks = recorded_blocks(messages)
    with path.open("wb") as file:
        for height, events in blocks.items():
            unix = HOUR_UNIX + 3600 + 60 * (height - FIRST_HEIGHT - len(blocks) // 2)
            file.writelines(raw + b"\n" for raw in block(height, events, unix=unix))
    hours = [Hour(HOUR_UNIX + 3600), Hour(HOUR_UNIX)]
    with serving(load_log(path)) as url, workbench(database, lake, url) as bench:
        assert bench.missing_hours() == hours
        for hour in hours:
            bench.run(window=HourWindow(hour, hour))
        assert bench.missing_hours() == []
        assert bench.quarantine() == []
        assert b"\n".join(bench.logged()[1]) + b"\n" == path.read_bytes()
        check_recorded_messages(bench.tables, messages)
