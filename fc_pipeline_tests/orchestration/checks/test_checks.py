"""Checks executed on their own, as the UI does it: each sees the damage that it is there for."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity, TableMetadataValue

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.checks.catalog import ALL_CHECKS
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import HOUR
from fc_pipeline_tests.support.pipeline import Pipeline

BUILT_HOUR = Hour.from_key(HOUR)
ALL_KEYS = [key for checks in ALL_CHECKS for key in checks.check_keys]


@contextmanager
def damaged(pipeline: Pipeline, *statements: str) -> Generator[None]:
    """The database after these statements; as it was before at the end."""
    tables = ("pipeline.coverage", "pipeline.quarantine")
    engine = pipeline.bench.replica.engine
    kept = {table: f"kept_{table.partition('.')[2]}" for table in tables}
    with engine.begin() as connection:
        for table, copy in kept.items():
            connection.execute(sa.text(f"CREATE TABLE {copy} AS TABLE {table}"))
        for statement in statements:
            connection.execute(sa.text(statement))
    try:
        yield
    finally:
        with engine.begin() as connection:
            for table, copy in kept.items():
                connection.execute(sa.text(f"DELETE FROM {table}"))
                connection.execute(sa.text(f"INSERT INTO {table} SELECT * FROM {copy}"))
                connection.execute(sa.text(f"DROP TABLE {copy}"))


def evaluated(pipeline: Pipeline, name: str, asset: str = RAW_LOG) -> AssetCheckEvaluation:
    """A check, executed now."""
    (evaluation,) = pipeline.evaluate(asset, name).get_asset_check_evaluations()
    assert evaluation.partition is None
    assert pipeline.checks(asset, name)[None].passed == evaluation.passed
    return evaluation


def records(evaluation: AssetCheckEvaluation, name: str) -> list[dict[str, Any]]:
    """The rows of a table in the metadata."""
    value = evaluation.metadata[name]
    assert isinstance(value, TableMetadataValue)
    return [dict(record.data) for record in value.records]


@pytest.mark.parametrize(
    "name",
    ["coverage_without_holes", "blocks_have_their_events", "files_as_written", "quarantine_share", "no_unknown_types"],
)
def test_a_sound_hour_is_green(pipeline: Pipeline, name: str):
    evaluation = evaluated(pipeline, name)
    assert evaluation.passed
    assert evaluation.metadata


def test_a_hole_in_the_ledger_is_found_and_named(pipeline: Pipeline):
    cut = "UPDATE pipeline.coverage SET to_height = 1009 WHERE shard = 1"
    rest = (
        "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
        "confirmed_events, rows_written, last_block_at) SELECT shard, 1020, 1029, tables, partition, 'other', 20, 20, "
        "10, last_block_at FROM pipeline.coverage"
    )
    with damaged(pipeline, cut, rest):
        evaluation = evaluated(pipeline, "coverage_without_holes")
    assert not evaluation.passed
    assert evaluation.metadata["missing_blocks"].value == 10
    assert records(evaluation, "holes") == [{"hour": HOUR, "shard": 1, "heights": "1010-1019", "being_filled": True}]
    assert "Runs are filling them" in (evaluation.description or "")
    assert evaluation.severity == AssetCheckSeverity.WARN


def test_a_hole_that_nobody_fills_is_red_with_the_command(pipeline: Pipeline):
    cut = "UPDATE pipeline.coverage SET from_height = 1005, committed_at = now() - interval '1 hour'"
    with damaged(pipeline, cut):
        evaluation = evaluated(pipeline, "coverage_without_holes")
    assert not evaluation.passed
    assert evaluation.severity == AssetCheckSeverity.ERROR
    assert records(evaluation, "holes")[0]["heights"] == "1000-1004"
    assert f"--select hub_events --partition {HOUR}" in (evaluation.description or "")


def test_an_older_hour_that_is_committed_to_shows_that_holes_are_being_filled(pipeline: Pipeline):
    old = "UPDATE pipeline.coverage SET from_height = 1005, committed_at = now() - interval '1 hour'"
    catching_up = (
        "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
        "confirmed_events, rows_written, last_block_at) SELECT 2, 1, 9, tables, '2026-10-01-10:00', 'other', 1, 1, 1, "
        "last_block_at FROM pipeline.coverage"
    )
    with damaged(pipeline, old, catching_up):
        assert evaluated(pipeline, "coverage_without_holes").severity == AssetCheckSeverity.WARN


@pytest.mark.parametrize(("events", "severity"), [(-1, AssetCheckSeverity.WARN), (1, AssetCheckSeverity.ERROR)])
def test_fewer_events_than_announced_warn_and_more_are_an_error(
    pipeline: Pipeline, events: int, severity: AssetCheckSeverity
):
    with damaged(pipeline, f"UPDATE pipeline.coverage SET events = events + {events}"):
        evaluation = evaluated(pipeline, "blocks_have_their_events")
    assert not evaluation.passed
    assert evaluation.severity == severity
    assert "fc-pipeline verify --sample 1000" in (evaluation.description or "")
    assert records(evaluation, "hours") == [
        {"hour": HOUR, "shard": 1, "events": 60 + events, "confirmed_events": 60},
    ]


def test_a_few_events_that_a_hub_announces_and_does_not_send_are_as_ever(pipeline: Pipeline):
    more = "UPDATE pipeline.coverage SET events = 999, confirmed_events = 1000"
    with damaged(pipeline, more):
        evaluation = evaluated(pipeline, "blocks_have_their_events")
    assert evaluation.passed
    assert evaluation.metadata["hours_that_differ"].value == 1


def _quarantined(reason: str, height: int) -> str:
    return (
        "INSERT INTO pipeline.quarantine (shard, event_id, reason, detail, raw, raw_sha256) "
        f"VALUES (1, {height << 14}, '{reason}', 'd', '', '')"
    )


def test_too_much_in_quarantine_is_red_and_says_of_what(pipeline: Pipeline):
    with damaged(pipeline, _quarantined("undecodable", 1003)):
        evaluation = evaluated(pipeline, "quarantine_share")
    assert not evaluation.passed
    assert evaluation.metadata["by_reason"].value == {"undecodable": 1}
    assert evaluation.metadata["share_percent"].value == pytest.approx(100 / 60, abs=1e-4)
    assert records(evaluation, "hours")[0]["hour"] == HOUR
    assert "fc-pipeline quarantine list --reason undecodable" in (evaluation.description or "")
    assert "fc-pipeline quarantine replay --reason undecodable" in (evaluation.description or "")


@pytest.mark.parametrize(
    "statements",
    [
        (_quarantined("undecodable", 999_999),),  # of another hour
        (_quarantined("nul_removed", 1003),),  # the row is in its table
        (_quarantined("undecodable", 1003), "UPDATE pipeline.quarantine SET resolved_at = now()"),
    ],
    ids=["another hour", "only its NUL removed", "resolved"],
)
def test_what_is_not_quarantined_in_this_hour_does_not_count(pipeline: Pipeline, statements: tuple[str, ...]):
    with damaged(pipeline, *statements):
        assert evaluated(pipeline, "quarantine_share").passed


@pytest.mark.parametrize("how", ["cut short", "changed", "gone"])
def test_a_file_of_the_raw_log_that_is_not_as_written_is_named_with_the_remedy(pipeline: Pipeline, how: str):
    (file,) = pipeline.bench.replica.log.files(BUILT_HOUR)
    path = Path(pipeline.bench.replica.settings.lake_uri) / file.path
    whole = path.read_bytes()
    path.write_bytes({"cut short": whole[:99], "changed": whole[:-1] + b"?", "gone": b""}[how])
    if how == "gone":
        path.unlink()
    try:
        evaluation = evaluated(pipeline, "files_as_written")
    finally:
        path.write_bytes(whole)
    assert not evaluation.passed
    assert (file.path if how != "gone" else "shard 1 lacks heights 1000-1029") in (evaluation.description or "")
    assert f"asset materialize -m fc_pipeline.definitions --select hub_events --partition {HOUR} " in (
        evaluation.description or ""
    )
    assert evaluated(pipeline, "files_as_written").passed


def test_an_unknown_type_warns(pipeline: Pipeline):
    with damaged(pipeline, _quarantined("unknown_type", 1003)):
        evaluation = evaluated(pipeline, "no_unknown_types")
    assert not evaluation.passed
    assert evaluation.severity == AssetCheckSeverity.WARN
    assert "fc-pipeline quarantine replay --reason unknown_type" in (evaluation.description or "")
    assert records(evaluation, "types")[0]["records"] == 1


def test_keys_are_proved_by_the_primary_key_and_counted_without_it(pipeline: Pipeline):
    engine = pipeline.bench.replica.engine
    proved = evaluated(pipeline, "unique_keys", "casts")
    assert proved.passed
    assert proved.metadata["proved_by_primary_key"].value
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE casts RENAME TO casts_kept"))
        connection.execute(sa.text("CREATE TABLE casts AS TABLE casts_kept"))
    try:
        unproved = evaluated(pipeline, "unique_keys", "casts")
        assert unproved.passed
        assert not unproved.metadata["proved_by_primary_key"].value
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO casts SELECT * FROM casts_kept ORDER BY hash LIMIT 1"))
            connection.execute(sa.text("INSERT INTO casts (fid, version) VALUES (1, 1)"))
        broken = evaluated(pipeline, "unique_keys", "casts")
        assert not broken.passed
        assert broken.metadata["bad_rows"].value == 3  # two of one key, one without
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE casts CASCADE"))
            connection.execute(sa.text("ALTER TABLE casts_kept RENAME TO casts"))


@pytest.mark.slow
def test_rows_that_are_not_the_logs_are_red_with_hour_and_command_and_green_after_it(pipeline: Pipeline):
    assert evaluated(pipeline, "rows_match_log", "casts").passed
    before = pipeline.tables()
    with pipeline.bench.replica.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM casts WHERE hash IN (SELECT hash FROM casts ORDER BY hash LIMIT 4)"))
        some = "SELECT hash FROM casts ORDER BY hash LIMIT 2"
        connection.execute(sa.text(f"UPDATE casts SET text = 'forged' WHERE hash IN ({some})"))
        columns = ", ".join(name for name in DATA_TABLES["casts"].names if name != "hash")
        connection.execute(
            sa.text(f"INSERT INTO casts (hash, {columns}) SELECT '\\xff', {columns} FROM casts ORDER BY hash LIMIT 1")
        )
    red = evaluated(pipeline, "rows_match_log", "casts")
    assert (red.passed, red.severity) == (False, AssetCheckSeverity.ERROR)
    (line,) = records(red, "hours")
    assert [line[name] for name in ("hour", "missing", "changed", "invented")] == [HOUR, 4, 2, 1]
    assert f"--select casts --partition {HOUR}" in (red.description or "")
    assert pipeline.materialize("casts", hour=BUILT_HOUR).success
    assert pipeline.checks("casts", "rows_match_log")[None].passed  # the run itself has evaluated it
    assert evaluated(pipeline, "rows_match_log", "casts").passed
    assert pipeline.tables() == before


@pytest.mark.slow
def test_leaves_that_are_not_the_logs_are_red_and_green_after_any_table_of_the_hour_is_made_again(pipeline: Pipeline):
    assert evaluated(pipeline, "rows_match_log", "reconciled_fids").passed
    before = pipeline.bench.dump("pipeline.other_leaves")
    with pipeline.bench.replica.engine.begin() as connection:
        invented = (
            "INSERT INTO pipeline.other_leaves (shard, fid, leaf, version) "
            "SELECT 1, fid, '\\x10'::bytea || hash, version FROM casts WHERE fid % 2 = 1 ORDER BY hash LIMIT 3"
        )
        rows = connection.execute(sa.text(invented)).rowcount
    assert rows
    red = evaluated(pipeline, "rows_match_log", "reconciled_fids")
    assert (red.passed, red.severity) == (False, AssetCheckSeverity.ERROR)
    assert [(line["hour"], line["invented"]) for line in records(red, "hours")] == [(HOUR, rows)]
    assert f"--select casts --partition {HOUR}" in (red.description or "")
    assert pipeline.materialize("casts", hour=BUILT_HOUR).success
    assert evaluated(pipeline, "rows_match_log", "reconciled_fids").passed
    assert pipeline.bench.dump("pipeline.other_leaves") == before


def test_a_row_that_no_hour_can_have_decided_is_red_with_a_command_all_the_same(pipeline: Pipeline):
    before = pipeline.tables()
    columns = ", ".join(name for name in DATA_TABLES["casts"].names if name not in ("hash", "version"))
    with pipeline.bench.replica.engine.begin() as connection:
        connection.execute(
            sa.text(f"INSERT INTO casts (hash, version, {columns}) SELECT '\\xff', 1, {columns} FROM casts LIMIT 1")
        )
    red = evaluated(pipeline, "rows_match_log", "casts")
    assert records(red, "hours")[0]["hour"] == "none"
    assert (red.description or "").endswith(f"--select casts --partition {HOUR}")
    assert pipeline.materialize("casts", hour=BUILT_HOUR).success
    assert evaluated(pipeline, "rows_match_log", "casts").passed
    assert pipeline.tables() == before


@pytest.mark.parametrize("asset", [RAW_LOG, *DATA_TABLES, "reconciled_fids", "targets"])
def test_execute_all_evaluates_every_check_of_an_asset(pipeline: Pipeline, asset: str):
    result = pipeline.evaluate(asset)
    assert result.success
    keys = {key for key in ALL_KEYS if key.asset_key.to_user_string() == asset}
    evaluations = result.get_asset_check_evaluations()
    assert {one.asset_check_key for one in evaluations} == keys
    assert all(one.metadata for one in evaluations)


def test_freshness_is_measured_against_the_hubs_head(pipeline: Pipeline):
    fresh = evaluated(pipeline, "fresh")
    assert fresh.passed  # it has all that the hub has, however old that is
    assert fresh.metadata["blocks_behind"].value == 0
    with damaged(
        pipeline,
        "UPDATE pipeline.coverage SET to_height = 1009, last_block_at = last_block_at - interval '90 seconds'",
    ):
        stale = evaluated(pipeline, "fresh")
    assert not stale.passed
    assert stale.severity == AssetCheckSeverity.WARN
    assert stale.metadata["blocks_behind"].value == 20
    assert stale.metadata["lag_seconds"].value == 90


def test_without_a_hub_freshness_is_not_claimed_and_the_rest_evaluated(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_HUB_URLS", "http://127.0.0.1:9")
    fresh = evaluated(pipeline, "fresh")
    assert not fresh.passed
    assert "127.0.0.1:9" in (fresh.description or "")
    assert evaluated(pipeline, "coverage_without_holes").passed
