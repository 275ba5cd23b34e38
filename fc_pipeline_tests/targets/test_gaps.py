"""Gaps where only targets are replicated: healed by snapshots of targets, whoever else an event in them was of."""

from pathlib import Path

import pytest

from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.comparing import (
    BY_AUTHOR,
    complete,
    expected_targets,
    live_rows,
    root_that_follows,
    targets_of,
)
from fc_pipeline_tests.support.feeding import lines, other_database
from fc_pipeline_tests.support.gaps import gaps_of, heal, height_at, part
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

__all__ = ["lines", "other_database"]


@pytest.mark.slow
def test_an_outage_is_healed_by_snapshots_of_targets(
    database: Database,
    other_database: Database,
    tmp_path: Path,
    lines: list[bytes],
    redis_url: str,
) -> None:
    log = log_from_lines(lines)
    read, kept = height_at(log, 0.25), height_at(log, 0.5)
    with serving(log) as url, workbench(other_database, tmp_path / "full" / "lake", url) as full:
        full.run()
        root = root_that_follows(full)
        expected = expected_targets(full, [root])
        options = {"targets": "set", "root_fids": (root,), "redis_url": redis_url}
        lake = tmp_path / "lake"
        with serving(part(lines, read)) as early, workbench(database, lake, early, **options) as bench:
            bench.run("before")
            complete(bench)
        with (
            serving(log, faults=Faults(pruned_before_height=kept)) as late,
            workbench(database, lake, late, **options) as bench,
        ):
            bench.run("after")
            assert [line[3:] for line in gaps_of(bench)] == [("outage", None)] * 2
            heal(bench)
            complete(bench)
            assert {how for *_, how in gaps_of(bench)} == {"snapshots"}
            assert targets_of(bench) == expected
            # What others did to them in the gap is nobody's by-FID answer; what they did themselves is all there.
            for table in ("casts", "reactions", "links", "user_data", "verifications", "on_chain_events"):
                assert live_rows(bench, table, BY_AUTHOR, expected) == live_rows(full, table, BY_AUTHOR, expected), (
                    table
                )
            assert bench.rows("SELECT * FROM pipeline.drift") == []
