"""`fc-pipeline backfill`: what it takes beforehand, the run, and what it refuses."""

import json
from pathlib import Path

import pytest

from fc_pipeline.cli.backfill import numbers_of
from fc_pipeline.errors import ConfigError
from fc_pipeline_tests.cli.test_sync_and_status import Project, hub

__all__ = ["hub"]  # a fixture


def test_a_dry_run_then_the_run_and_status(hub: str, tmp_path: Path):
    project = Project(tmp_path / "data", hub)
    dry = project.run("backfill", "--fids", "3,5-7", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    expected = json.loads(dry.stdout)
    assert (expected["fids"], expected["fids_left"]) == (4, 4)

    done = project.run("backfill", "--fids", "3,5-7", "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert (outcome["fids"], outcome["requests"]) == (4, expected["requests"])
    assert outcome["rows_written"] > 0
    assert outcome["drift"] == {}


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "--fids", "3"), ("--fids", "0"), ("--fids", "x"), ("--buckets", "256"), ("--fids", ",")]
)
def test_what_it_cannot_do_is_said_before_anything_starts(arguments: tuple[str, ...], tmp_path: Path):
    refused = Project(tmp_path / "data", "http://127.0.0.1:9").run("backfill", *arguments)
    assert refused.returncode == 2
    assert "hint:" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data").exists()


def test_lists_of_numbers():
    assert numbers_of("3, 5-7,6", "--fids", 1, 10) == {3, 5, 6, 7}
    for wrong in ("", "3-", "-3", "7-5x", "٣", "1.5"):
        with pytest.raises(ConfigError, match="--fids"):
            numbers_of(wrong, "--fids", 1, 10)
