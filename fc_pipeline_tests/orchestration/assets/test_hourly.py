"""Hours of the assets, materialised through Dagster on a real instance: what is written, reported and evaluated."""

import json
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetCheckEvaluation, DagsterRunStatus, RunConfig, RunRequest
from dagster._core.storage.tags import PARTITION_NAME_TAG, SENSOR_NAME_TAG

from fc_pipeline.feed import run
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.orchestration.assets import hourly
from fc_pipeline.orchestration.assets.hourly import MicroBatchConfig, hourly_tables
from fc_pipeline.orchestration.jobs import MICRO_BATCHES
from fc_pipeline.plain_text import plain
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import HOUR, HOUR_UNIX, block, cast_add, merge, user_data
from fc_pipeline_tests.support.logs import casts_at, every_second, log_of
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, failure, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import Database

OUTPUTS = (RAW_LOG, *DATA_TABLES)
FIRST = SAMPLE_HOURS[0]
BUILT_HOUR = Hour.from_key(HOUR)


def cells(sample: Any) -> list[str]:
    """The values of a sample as Dagster stores it."""
    return [str(value) for record in sample for value in record.data.values()]


@pytest.mark.slow
def test_the_log_alone_and_a_table_later_without_the_hub(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with sample_hub() as url, open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize(RAW_LOG, hour=FIRST).success
        assert pipeline.hours_of(RAW_LOG) == {FIRST.key}
        assert pipeline.hours_of("casts") == set()
        assert not any(pipeline.tables().values())
    # The hub is off.
    with open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize("casts", "fid_activity", hour=FIRST).success
        assert pipeline.hours_of("casts") == {FIRST.key}
        filled = {table for table, rows in pipeline.tables().items() if rows}
        assert filled == {"casts", "fid_activity", "cast_counts", "user_counts"}  # what is written is counted
        assert pipeline.metadata("casts", FIRST)["rows_inserted"] == len(pipeline.tables()["casts"])
        monkeypatch.setattr(run, "HubPool", partial(HubPool, retries=0))
        failed = pipeline.materialize(hour=FIRST, raise_on_error=False)
        assert not failed.success
        assert url in failure(failed)


@pytest.mark.slow
def test_an_hour_read_in_parts_has_the_row_count_of_the_whole(database: Database, tmp_path: Path):
    early = casts_at(every_second(1000, HOUR_UNIX, 20))
    late = casts_at(every_second(1020, HOUR_UNIX + 20, 10))
    with serving(log_of(early)) as url, open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize(hour=BUILT_HOUR, rebuild=False).success
        assert pipeline.metadata(RAW_LOG, BUILT_HOUR)["dagster/partition_row_count"] == len(early)
    with serving(log_of(early, late)) as url, open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize(hour=BUILT_HOUR, rebuild=False).success
        metadata = pipeline.metadata(RAW_LOG, BUILT_HOUR)
        assert metadata["run_events"] == len(late)
        assert metadata["heights_shard_1"] == "1000-1029"
        assert metadata["events"] == metadata["dagster/partition_row_count"] == len(early) + len(late)
        assert pipeline.metadata("casts", BUILT_HOUR)["rows_inserted"] == 30
        assert pipeline.metadata("casts", BUILT_HOUR)["run_rows_inserted"] == 10


@pytest.mark.slow
def test_tables_made_one_after_the_other_add_up_to_the_hour(database: Database, tmp_path: Path):
    """What the raw log alone counts as filtered is counted where a table is made of it, once."""
    with sample_hub() as url, open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize(RAW_LOG, hour=FIRST).success
        alone = pipeline.metadata(RAW_LOG, FIRST)
        assert alone["events_written"] == 0 < alone["events_filtered"]
        for tables in (("casts",), ("reactions", "casts"), tuple(DATA_TABLES)):
            assert pipeline.materialize(*tables, hour=FIRST).success
        assert pipeline.materialize(RAW_LOG, hour=FIRST, rebuild=False).success
        metadata = pipeline.metadata(RAW_LOG, FIRST)
        assert metadata["events_filtered"] == metadata["events_unaccounted"] == 0
        assert metadata["events_written"] + metadata["events_unchanged"] == alone["events_filtered"]
        for table in DATA_TABLES:
            rows = len(pipeline.bench.rows(f"SELECT FROM {table}"))
            assert pipeline.metadata(table, FIRST)["rows_inserted"] == rows


@pytest.mark.slow
def test_a_hole_that_nobody_can_fill_fails_the_run(database: Database, tmp_path: Path):
    """The blocks before the hole were read once, those after it are all that the hub has now."""
    early, late = every_second(1000, HOUR_UNIX, 10), every_second(1020, HOUR_UNIX + 20, 10)
    with serving(log_of(casts_at(early))) as url, open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize(hour=BUILT_HOUR).success
    with serving(log_of(casts_at(late))) as url, open_pipeline(database, tmp_path, url) as pipeline:
        failed = pipeline.materialize(hour=BUILT_HOUR, raise_on_error=False)
        assert not failed.success
        assert f"coverage_without_holes of {HOUR}: 10 blocks are missing" in failure(failed)
        coverage = pipeline.checks(RAW_LOG, "coverage_without_holes")[None]
        assert not coverage.passed
        assert coverage.metadata["holes_by_shard"].value == {"1": ["1010-1019"]}
        assert pipeline.bench.rows("SELECT count(*)::int AS n FROM casts")[0].n == 20  # what was read stays


HOSTILE = (
    "<script>alert(1)</script>",
    "'); DROP TABLE casts; --",
    "{{7*7}} ${HOME} %s %(x)s {0}",
    "[click](javascript:alert(1)) ![x](http://127.0.0.1/x.png)",
    "\u202egnp.exe\u200b\ufeff",
    "\x00nul and \x1b[31mansi\x07",
    'quote " backslash \\ tab \t',
    "z" * 10_000,
)


@pytest.mark.slow
def test_hostile_texts_are_strings_like_any_other(database: Database, tmp_path: Path):
    events = [merge(cast_add(n, text)) for n, text in enumerate(HOSTILE[:5], start=1)]
    names = [merge(user_data(n, "DISPLAY", text)) for n, text in enumerate(HOSTILE[5:], start=20)]
    blocks = [*block(1000, events, 1, HOUR_UNIX), *block(1001, names, 1, HOUR_UNIX + 1)]
    with serving(log_of(blocks)) as url, open_pipeline(database, tmp_path, url) as pipeline:
        assert pipeline.materialize(hour=BUILT_HOUR).success
        stored = {row.text for row in pipeline.bench.rows("SELECT text FROM casts")}
        assert stored == set(HOSTILE[:5])
        shown = cells(pipeline.metadata("casts", BUILT_HOUR)["sample"])
        assert set(map(plain, HOSTILE[:5])) <= set(shown)  # what would turn letters round is shown as an escape
        names_shown = cells(pipeline.metadata("user_data", BUILT_HOUR)["sample"])
        assert "nul and \\x1b[31mansi\\x07" in names_shown
        assert "z" * 119 + "…" in names_shown
        profiles = cells(pipeline.metadata("user_profiles", BUILT_HOUR)["sample"])
        assert plain(HOSTILE[6]) in profiles
        assert max(map(len, [*shown, *names_shown, *profiles])) <= 120
        json.dumps([*shown, *names_shown, *profiles]).encode()  # no lone surrogate that a browser could not get


@pytest.mark.slow
def test_a_run_that_follows_reports_and_evaluates_meanwhile(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hourly, "REPORT_SECONDS", 0.5)
    monkeypatch.setattr(hourly, "EVALUATE_SECONDS", 1.0)
    began = Hour.of(time.time())
    log = log_of(casts_at(every_second(1000, int(time.time()) - 5, 5)))
    growth = Endless(log, events_per_second=20.0, start_unix=time.time() - 3)
    with serving(log, growth=growth) as url, open_pipeline(database, tmp_path, url) as pipeline:
        result = pipeline.materialize(hour=began, rebuild=False, follow_seconds=8.0)
        assert result.success
        logged = [record.dagster_event for record in pipeline.instance.all_logs(result.run_id) if record.dagster_event]
        reports = [e for e in logged if e.is_step_materialization and e.asset_key and e.asset_key.path == ["casts"]]
        evaluated = [
            e.event_specific_data
            for e in logged
            if isinstance(e.event_specific_data, AssetCheckEvaluation) and e.event_specific_data.check_name == "fresh"
        ]
        assert len(reports) >= 2  # one at least before it ended
        assert len(evaluated) >= 2
        assert all(one.passed for one in evaluated)
        versions = [(e.step_materialization_data.materialization.tags or {})["dagster/data_version"] for e in reports]
        assert len(set(versions)) == len(versions)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tags", "status"),
    [({SENSOR_NAME_TAG: "hub_event_sensor"}, DagsterRunStatus.SUCCESS), ({}, DagsterRunStatus.CANCELED)],
    ids=["of a sensor", "of a person"],
)
def test_a_run_that_is_asked_to_end_is_red_only_where_a_person_waits_for_it(
    tags: dict[str, str], status: DagsterRunStatus, database: Database, tmp_path: Path
):
    present = Hour.of(time.time())
    log = log_of(casts_at(every_second(1000, int(time.time()) - 5, 5)))
    growth = Endless(log, events_per_second=20.0, start_unix=time.time() - 3)
    with serving(log, growth=growth) as url, open_pipeline(database, tmp_path, url) as pipeline:

        def ask_once_it_writes() -> None:
            while not pipeline.bench.ledger():
                time.sleep(0.1)
            os.kill(os.getpid(), signal.SIGTERM)

        asking = threading.Thread(target=ask_once_it_writes, daemon=True)
        asking.start()
        config = RunConfig(ops={hourly_tables.op.name: MicroBatchConfig(rebuild=False, follow_seconds=120.0)})
        request = RunRequest(run_config=config, tags={**tags, PARTITION_NAME_TAG: present.key})
        result = pipeline.launch(request, MICRO_BATCHES.name, raise_on_error=False)
        asking.join(60)
        run = pipeline.instance.get_run_by_id(result.run_id)
        assert run is not None
        assert run.status == status
        assert pipeline.bench.ledger()  # what was committed stays
        assert pipeline.hours_of("casts")  # and was reported


def test_the_step_writes_what_its_specs_name():
    assert {key.to_user_string() for key in hourly_tables.keys} == set(OUTPUTS)
