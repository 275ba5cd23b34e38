"""`fc-pipeline backfill`: what it takes beforehand, the run, and what it refuses."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fc_pipeline.backfill.progress import BackfillOutcome, BackfillProgress, duration
from fc_pipeline.cli.backfill import numbers_of, print_outcome
from fc_pipeline.errors import ConfigError
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.store.snapshot_ledger import SnapshotLine
from fc_pipeline_tests.cli.test_sync_and_status import Project, hub

__all__ = ["hub"]  # a fixture


@pytest.mark.slow
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
    with pytest.raises(ConfigError, match="--buckets has '5-3', a reversed range") as refused:
        numbers_of("5-3", "--buckets", 0, 255)
    assert refused.value.hint == "did you mean 3-5?"
    for wrong in ("", "3-", "-3", "7-5x", "٣", "1.5"):
        with pytest.raises(ConfigError, match="--fids"):
            numbers_of(wrong, "--fids", 1, 10)


@pytest.mark.parametrize(
    ("reconciled", "said"),
    [
        (Reconciled(fids=3), "3 FIDs reconciled with 5 requests: 0 rows written, no drift\n"),
        (Reconciled(fids=3, drift={"casts": 2}), "0 rows written, 2 of them drift (pipeline.drift)\n"),
        (Reconciled(fids=3, uncovered_fids=1), "0 rows written, no drift; 1 FID not compared (history not covered)\n"),
        (Reconciled(fids=3, uncovered_fids=3), "0 rows written; 3 FIDs not compared (history not covered)\n"),
    ],
)
def test_the_last_line_says_of_whom_nothing_can_be_said(
    reconciled: Reconciled, said: str, capsys: pytest.CaptureFixture[str]
):
    progress = BackfillProgress(requests=5)
    lines = [SnapshotLine(fid, 1, fid, 9, 9, "file", 4 - fid, 1, datetime(2026, 11, 1, tzinfo=UTC)) for fid in (2, 3)]
    lines.append(SnapshotLine(4, 1, 4, 9, 9, "file", 0, 1, datetime(2026, 11, 1, tzinfo=UTC)))
    for line in lines:
        progress.expect(line.bucket, 1)
    progress.add_folded(lines, reconciled)
    print_outcome(progress.outcome(), as_json=False)
    told = capsys.readouterr().out
    assert said in told
    assert "The hub has no record of 1 FID: 4\n" in told


def test_outcomes_add_up_and_survive_json():
    one = BackfillOutcome(2, 12, 30, 20, {"casts": 1}, 1, 2, 1, (4,))
    other = BackfillOutcome(1, 6, 5, 5, {"casts": 2, "links": 1}, 0, 1, 0, (5,))
    total = one + BackfillOutcome.of_figures(json.loads(json.dumps(other.figures())))
    assert total == BackfillOutcome(3, 18, 35, 25, {"casts": 3, "links": 1}, 1, 3, 1, (4, 5))


@pytest.mark.parametrize(("seconds", "said"), [(2.4, "2 s"), (75, "1 min 15 s"), (7_260, "2 h 01 min")])
def test_durations_are_in_units_that_fit(seconds: float, said: str):
    assert duration(seconds) == said
