"""The sample's hours, materialised one after the other in one pipeline: what is written, reported and evaluated."""

import pytest
from dagster import AssetKey, ExecuteInProcessResult

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.registry import DATA_TABLES, MESSAGE_TABLES
from fc_pipeline.tables.user_profiles import PROFILES
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, failure

OUTPUTS = (RAW_LOG, *DATA_TABLES)
ROW_CHANGES = ("rows_inserted", "rows_updated", "rows_deleted")
FIRST, _, THIRD = SAMPLE_HOURS


@pytest.fixture(scope="module")
def first_run(pipeline: Pipeline) -> ExecuteInProcessResult:
    """The run that materialises the first hour, which each test below finds written."""
    return pipeline.materialize(hour=FIRST)


@pytest.fixture(autouse=True)
def written(first_run: ExecuteInProcessResult) -> None:
    assert first_run.success


def live_rows(pipeline: Pipeline, table: str) -> int:
    return pipeline.bench.rows(f"SELECT count(*)::int AS n FROM {table} WHERE deleted_at IS NULL")[0].n


def test_an_hour_of_all_assets_is_written_reported_and_evaluated(pipeline: Pipeline, first_run: ExecuteInProcessResult):
    events_of_run = first_run.all_events
    assert [event.step_key for event in events_of_run if event.is_step_skipped] == []  # checks are not passed over
    steps = {event.step_key for event in events_of_run if event.is_step_success}
    assert steps == {"micro_batch", "raw_log_checks", "key_checks", "row_checks", "count_checks"}
    events = pipeline.bench.rows(
        "SELECT sum(events)::int AS events FROM pipeline.coverage WHERE partition = :p", p=FIRST.key
    )[0].events
    assert events == sum(len(one) for one in pipeline.bench.logged().values()) > 0
    materialized = [event for event in events_of_run if event.is_step_materialization]
    for asset in OUTPUTS:
        assert pipeline.hours_of(asset) == {FIRST.key}
        assert sum(event.asset_key == AssetKey(asset) for event in materialized) == 1
        metadata = pipeline.metadata(asset, FIRST)
        lags = [metadata["lag_seconds_shard_1"], metadata["lag_seconds_shard_2"]]
        assert metadata["lag_seconds"] == max(lags)
        assert min(lags) > 0
        assert all(isinstance(lag, float) for lag in lags)  # the UI plots numbers
    metadata = pipeline.metadata(RAW_LOG, FIRST)
    assert metadata["events"] == metadata["run_events"] == metadata["dagster/partition_row_count"] == events
    assert metadata["bytes"] == metadata["run_bytes"] > 0
    assert metadata["postgres_seconds"] == pytest.approx(metadata["run_postgres_seconds"], abs=0.001)
    assert {name for name in metadata if name.startswith("heights_shard_")} == {"heights_shard_1", "heights_shard_2"}
    written = {table: sum(pipeline.numbers(table, FIRST, *ROW_CHANGES).values()) for table in DATA_TABLES}
    assert metadata["rows_written"] == metadata["run_rows_written"] == sum(written.values())
    # Fewer than one write per message: what was changed and removed again within a micro-batch is written once.
    assert 0 < metadata["message_rows_written"] < metadata["naive_rows"] < events
    assert metadata["message_rows_written"] == sum(written[table] for table in MESSAGE_TABLES)
    for table in DATA_TABLES:
        rows = len(pipeline.bench.rows(f"SELECT FROM {table}"))
        metadata = pipeline.metadata(table, FIRST)
        assert metadata["rows_inserted"] == rows or metadata["rows_deleted"], table
        assert rows > 0
        assert 1 <= len(metadata["sample"]) <= 5
        assert metadata["dagster/row_count"] == live_rows(pipeline, table)
    assert [asset for asset in OUTPUTS if pipeline.not_evaluated(asset)] == []


def test_no_asset_is_called_unsynced(pipeline: Pipeline):
    """Each was reported after that which it is made from."""
    written = [pipeline.record(asset, FIRST).storage_id for asset in (RAW_LOG, *PROFILES.sources, "user_profiles")]
    assert written[0] < min(written[1:])
    assert written[-1] > max(written[:-1])


def test_the_checks_of_its_assets_are_evaluated(pipeline: Pipeline):
    for name in ("coverage_without_holes", "blocks_have_their_events", "quarantine_share", "no_unknown_types"):
        assert pipeline.checks(RAW_LOG, name)[None].passed, name
    for table in DATA_TABLES:
        assert pipeline.checks(table, "unique_keys")[None].passed
    assert not pipeline.checks(RAW_LOG, "fresh")[None].passed  # the hub has later hours


def test_a_table_reports_what_is_its_own(pipeline: Pipeline):
    own = {"dagster/row_count", "sample", "lag_seconds", "lag_seconds_shard_1", "lag_seconds_shard_2"}
    for table in DATA_TABLES:
        metadata = pipeline.metadata(table, FIRST)
        expected = {*own, *ROW_CHANGES, *(f"run_{name}" for name in ROW_CHANGES)}
        assert set(metadata) == expected
    sample = pipeline.record("casts", FIRST).asset_materialization.metadata["sample"]
    assert [column.name for column in sample.schema.columns][:3] == ["fid", "timestamp", "text"]


def test_what_became_of_each_event_is_said_of_the_hour(pipeline: Pipeline):
    metadata = pipeline.metadata(RAW_LOG, FIRST)
    outcomes = ("written", "unchanged", "without_rows", "filtered", "quarantined")
    assert sum(metadata[f"events_{name}"] for name in outcomes) == metadata["events"]
    assert metadata["events_unaccounted"] == metadata["events_filtered"] == 0
    assert all(metadata[f"events_{name}"] == metadata[f"run_events_{name}"] for name in outcomes)


@pytest.mark.slow
def test_once_more_changes_nothing_and_the_hour_keeps_its_totals(pipeline: Pipeline):
    before, reported = pipeline.tables(), {table: pipeline.metadata(table, FIRST) for table in OUTPUTS}
    assert pipeline.materialize(hour=FIRST).success
    assert pipeline.tables() == before
    for table in DATA_TABLES:
        assert pipeline.numbers(table, FIRST, *ROW_CHANGES) == {name: reported[table][name] for name in ROW_CHANGES}
        of_run = [f"run_{name}" for name in ROW_CHANGES]
        assert pipeline.numbers(table, FIRST, *of_run) == dict.fromkeys(of_run, 0)
    metadata = pipeline.metadata(RAW_LOG, FIRST)
    assert {n: v for n, v in metadata.items() if not n.startswith("run_")} == {
        n: v for n, v in reported[RAW_LOG].items() if not n.startswith("run_")
    }
    assert metadata["run_naive_rows"] > metadata["run_rows_written"] == 0


@pytest.mark.slow
def test_a_run_with_nothing_to_do_reports_the_hour_with_its_sample(pipeline: Pipeline):
    """As the schedule that closes an hour does."""
    before = {table: pipeline.metadata(table, FIRST) for table in OUTPUTS}
    assert pipeline.materialize(hour=FIRST, rebuild=False, compact=True).success
    assert pipeline.metadata(RAW_LOG, FIRST)["run_events"] == 0
    assert pipeline.metadata(RAW_LOG, FIRST)["events"] == before[RAW_LOG]["events"] > 0
    for table in DATA_TABLES:
        metadata = pipeline.metadata(table, FIRST)
        kept = (*ROW_CHANGES, "sample")
        assert {name: metadata[name] for name in kept} == {name: before[table][name] for name in kept}


@pytest.mark.slow
def test_a_table_that_was_lost_and_made_anew_counts_once(pipeline: Pipeline):
    before = {asset: pipeline.metadata(asset, FIRST) for asset in (RAW_LOG, "casts")}
    with pipeline.bench.replica.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE casts CASCADE")
    ensure_schema(pipeline.bench.replica.engine)
    assert pipeline.materialize(hour=FIRST).success
    totals = ("events", "events_written", "events_unchanged", "events_filtered", "rows_written")
    assert pipeline.numbers(RAW_LOG, FIRST, *totals) == {name: before[RAW_LOG][name] for name in totals}
    rows = pipeline.numbers("casts", FIRST, *ROW_CHANGES, *(f"run_{name}" for name in ROW_CHANGES))
    assert sum(rows[name] for name in ROW_CHANGES) == sum(before["casts"][name] for name in ROW_CHANGES)
    assert rows["run_rows_inserted"] == rows["rows_inserted"] > 0


def test_a_table_for_an_hour_that_the_log_lacks_says_so(pipeline: Pipeline):
    failed = pipeline.materialize("casts", hour=THIRD, raise_on_error=False)
    assert not failed.success
    assert f"the raw log has nothing of {THIRD.key}" in failure(failed)
    assert "materialise hub_events for these hours first" in failure(failed)
    assert THIRD.key not in pipeline.hours_of("casts")


def test_hours_that_neither_hub_nor_log_has_say_so(pipeline: Pipeline):
    failed = pipeline.materialize(hour=Hour.from_key("2026-10-26-00:00"), raise_on_error=False)
    assert "nor the raw log has anything of 2026-10-26-00:00" in failure(failed)


@pytest.mark.slow
def test_a_range_is_one_run_that_reports_and_evaluates_each_hour(pipeline: Pipeline):
    runs_before = pipeline.instance.get_runs_count()
    result = pipeline.materialize(hour=FIRST, last=THIRD)
    assert result.success
    assert pipeline.instance.get_runs_count() == runs_before + 1
    for asset in OUTPUTS:
        assert pipeline.hours_of(asset) == {hour.key for hour in SAMPLE_HOURS}
    coverage = pipeline.checks(RAW_LOG, "coverage_without_holes")[None]
    assert coverage.passed
    assert coverage.metadata["hours"].value == len(SAMPLE_HOURS)
    said = [record.user_message for record in pipeline.instance.all_logs(result.run_id)]
    for hour in SAMPLE_HOURS:
        assert any(f"{hour.key}: " in line and " 0 missing" in line for line in said), hour
    events = [pipeline.metadata(RAW_LOG, hour)["events"] for hour in SAMPLE_HOURS]
    assert sum(events) == sum(len(one) for one in pipeline.bench.logged().values())
