"""The daily upkeep as Dagster runs it."""

import time
from pathlib import Path

import pytest

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.status import health
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import defs, open_pipeline
from fc_pipeline_tests.support.postgres import Database


@pytest.mark.slow
def test_a_damaged_file_of_these_days_is_mended_and_the_check_says_so(database: Database, tmp_path: Path):
    hour = Hour(Hour.of(time.time()).start_unix - 2 * 3600)
    with (
        serving(log_of(casts_at(every_second(1000, hour.start_unix, 30)))) as url,
        open_pipeline(database, tmp_path / "data", url) as pipeline,
    ):
        assert pipeline.materialize(hour=hour).success
        events = pipeline.bench.logged()
        (file,) = pipeline.bench.replica.log.files(hour)
        path = tmp_path / "data" / "lake" / file.path
        path.write_bytes(bytes(file.size_bytes))
        assert health.lost_of(pipeline.bench.replica, [hour], reading=True)

        maintenance = defs.resolve_job_def("maintenance")
        assert maintenance.execute_in_process(instance=pipeline.instance).success
        assert pipeline.bench.logged() == events
        evaluation = pipeline.checks(RAW_LOG, "files_as_written")[None]
        assert evaluation.passed
        assert evaluation.metadata["files_read"].value
        (run,) = pipeline.instance.get_runs(limit=1)
        said = [record.user_message for record in pipeline.instance.all_logs(run.run_id)]
        assert any("raw_log_was_damaged" in line for line in said)


@pytest.mark.slow
def test_what_folds_noted_becomes_digests(database: Database, tmp_path: Path):
    hour = Hour(Hour.of(time.time()).start_unix - 2 * 3600)
    notes = "SELECT (SELECT count(*) FROM pipeline.touched_fids) + (SELECT count(*) FROM pipeline.stale_fids) AS unmade"
    with (
        serving(log_of(casts_at(every_second(1000, hour.start_unix, 30)))) as url,
        open_pipeline(database, tmp_path / "data", url) as pipeline,
    ):
        assert pipeline.materialize(hour=hour).success
        tables = pipeline.bench.tables
        assert tables.rows(notes)[0].unmade
        assert defs.resolve_job_def("maintenance").execute_in_process(instance=pipeline.instance).success
        assert tables.rows(notes)[0].unmade == 0
        assert sum(row.leaves for row in tables.rows("SELECT leaves FROM pipeline.fid_digests")) == 30
