"""Gaps under Dagster: seen, shown red, healed by the run that the sensor asks for, shown green; and by hand."""

import json
import logging
import time
from bisect import bisect_left
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from click.testing import Result
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    DagsterEventType,
    DagsterRunStatus,
    RunRequest,
    SensorResult,
    build_sensor_context,
)
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.test_utils import create_run_for_test
from typer.testing import CliRunner

from fc_pipeline.cli.main import app
from fc_pipeline.errors import ServiceError
from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.heights import HeightRange
from fc_pipeline.hours import Hour
from fc_pipeline.hub.wire import first_event_id, height_of
from fc_pipeline.lake.snapshot_log import bucket_key
from fc_pipeline.orchestration.assets.bucket_reports import RECONCILED, SNAPSHOTS_ASSET
from fc_pipeline.orchestration.healing_job import GAPS_TAG, HEAL_GAPS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.gaps import gap_sensor
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, block_of, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import gaps
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline
from fc_pipeline_tests.support.postgres import fresh_database

pytestmark = pytest.mark.slow

HOUR = Hour(HOUR_UNIX)
SECONDS = 60
READ, KEPT = 20, 40
"""Blocks that were read before the outage; of the others, the hub keeps those from this one on."""


@pytest.fixture(scope="module")
def opened(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A minute of a network; the pipeline was down while the hub went on and forgot."""
    log, rest = _cut(list(generate(3, fids=40, events=900, start_unix=HOUR_UNIX, events_per_second=900 / SECONDS)))
    faults = Faults()
    with (
        fresh_database(postgres) as database,
        serving(log, faults=faults) as hub_url,
        open_pipeline(database, tmp_path_factory.mktemp("pipeline"), hub_url) as pipeline,
    ):
        assert pipeline.materialize(hour=HOUR).success
        for shard, several in rest.shards.items():
            for height in sorted(set(map(height_of, several.event_ids))):
                first = bisect_left(several.event_ids, first_event_id(height))
                end = bisect_left(several.event_ids, first_event_id(height + 1))
                log.append(shard, block_of(height, several.event_ids[first:end].tolist(), several.raws[first:end]))
            faults.pruned_before_height[shard] = height_of(several.event_ids[0]) + KEPT - READ
        yield pipeline


def _cut(lines: list[bytes]) -> tuple[EventLog, EventLog]:
    """The first blocks of a log, and the others."""
    whole = log_from_lines(lines)
    bounds = {shard: first_event_id(height_of(one.event_ids[0]) + READ) for shard, one in whole.shards.items()}
    early: list[bytes] = []
    late: list[bytes] = []
    for shard, one in whole.shards.items():
        at = bisect_left(one.event_ids, bounds[shard])
        early += one.raws[:at]
        late += one.raws[at:]
    return log_from_lines(early), log_from_lines(late)


@pytest.fixture
def pipeline(opened: Pipeline) -> Iterator[Pipeline]:
    """The outage is over, and nobody has looked yet; no runs."""
    yield opened
    with opened.bench.replica.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM pipeline.gaps")
        connection.exec_driver_sql("DELETE FROM pipeline.snapshots")
        connection.exec_driver_sql("DELETE FROM pipeline.snapshot_rounds")
    for run in opened.instance.get_runs():
        opened.instance.delete_run(run.run_id)


def tick(pipeline: Pipeline, cursor: str | None = None) -> SensorResult:
    context = build_sensor_context(
        instance=pipeline.instance, cursor=cursor, resources={"replica": ReplicaResource()}, definitions=defs
    )
    result = gap_sensor(context)
    assert isinstance(result, SensorResult), result
    return result


def requests_of(result: SensorResult) -> list[RunRequest]:
    return list(result.run_requests or [])


def said(result: SensorResult) -> list[bool]:
    """What the check says, where the tick says something."""
    return [event.passed for event in result.asset_events if isinstance(event, AssetCheckEvaluation)]


def reason(result: SensorResult) -> str:
    assert result.skip_reason is not None
    return result.skip_reason.skip_message or ""


def healed_by(pipeline: Pipeline) -> list[str | None]:
    return [row.healed_by for row in pipeline.bench.rows("SELECT healed_by FROM pipeline.gaps")]


def test_a_gap_turns_the_checks_red_is_healed_by_itself_and_turns_them_green(pipeline: Pipeline):
    quiet = tick(pipeline)
    assert (requests_of(quiet), said(quiet), reason(quiet)) == ([], [], "no gap is open that snapshots would heal")

    assert not pipeline.materialize(hour=HOUR, rebuild=False, raise_on_error=False).success
    red = pipeline.checks(RAW_LOG, "no_open_gaps")[None]
    assert not red.passed
    assert red.metadata["blocks_in_open_gaps"].value == 2 * (KEPT - READ)
    assert "which no hub has any more (outage)" in (red.description or "")
    assert "fc-pipeline backfill --gaps" in (red.description or "")

    asked = tick(pipeline, quiet.cursor)
    (request,) = requests_of(asked)
    assert said(asked) == [False]
    assert said(tick(pipeline, asked.cursor)) == []  # once
    healing = defs.resolve_job_def(HEAL_GAPS.name).execute_in_process(
        instance=pipeline.instance, tags=dict(request.tags), run_config=request.run_config
    )
    assert healing.success
    planned = pipeline.instance.all_logs(healing.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert list(planned) == []  # a run that fails leaves no bucket red
    users = pipeline.bench.rows("SELECT DISTINCT bucket FROM pipeline.snapshots WHERE folded_at IS NOT NULL")
    for asset in (SNAPSHOTS_ASSET, RECONCILED):
        reported = pipeline.instance.get_materialized_partitions(AssetKey(asset))
        assert reported == {bucket_key(row.bucket) for row in users} != set()
    assert healed_by(pipeline) == [healing.run_id] * 2
    assert pipeline.checks(RAW_LOG, "no_open_gaps")[None].passed
    green = pipeline.checks(RAW_LOG, "coverage_without_holes")[None]
    assert green.passed
    assert green.metadata["blocks_by_snapshots"].value == 2 * (KEPT - READ)
    assert "not in the raw log, nor counted in fid_activity" in (green.description or "")

    over = tick(pipeline, asked.cursor)
    assert (requests_of(over), said(over), reason(over)) == ([], [True], "no gap is open that snapshots would heal")
    assert pipeline.materialize(hour=HOUR, rebuild=False).success


def test_sync_fails_until_the_gaps_are_healed_by_hand(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    failed = run("sync", "--json")
    assert isinstance(failed.exception, ServiceError)
    assert "backfill --gaps" in str(failed.exception)
    status = json.loads(run("status", "--json").stdout)
    assert not status["is_complete"]
    assert [gap["to_height"] - gap["from_height"] + 1 for gap in status["gaps"]] == [KEPT - READ] * 2
    assert {gap["healed_at"] for gap in status["gaps"]} == {None}
    assert "outage" in run("status").stdout

    everyone = json.loads(run("backfill", "--gaps", "--dry-run", "--json").stdout)["fids"]
    with monkeypatch.context() as silent:
        silent.setattr(logging.getLogger("fc_pipeline.backfill.run"), "disabled", True)  # the outcome is no log record
        healed = json.loads(run("backfill", "--gaps", "--json").stdout)
    assert (healed["gaps"], healed["fids"], healed["drift"]) == (2, everyone, {})
    assert run("backfill", "--gaps").stdout == "no gap is open\n"
    synced = run("sync", "--json")
    assert synced.exit_code == 0
    assert json.loads(synced.stdout)["blocks_by_snapshots"] == 2 * (KEPT - READ)
    status = json.loads(run("status", "--json").stdout)
    assert status["is_complete"]
    assert {gap["healed_how"] for gap in status["gaps"]} == {"snapshots"}
    assert {*DATA_TABLES, "gasless_keys"} == {table["table"] for table in status["tables"]}


def open_gap(pipeline: Pipeline) -> None:
    gaps.observe(pipeline.bench.replica.engine, 1, [HeightRange(7, 9)])


def make_run(pipeline: Pipeline, status: DagsterRunStatus, **seconds_ago: float) -> None:
    run = create_run_for_test(pipeline.instance, job_name=HEAL_GAPS.name, status=status, tags={GAPS_TAG: "true"})
    storage = pipeline.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        for name, ago in seconds_ago.items():
            moved = sa.update(RunsTable).where(RunsTable.c.run_id == run.run_id).values({name: time.time() - ago})
            connection.execute(moved)


def test_an_hour_that_fails_is_shown_and_healed_by_snapshots_once_the_hub_forgets_it(pipeline: Pipeline):
    engine = pipeline.bench.replica.engine
    gaps.note_failed(engine, 1, [HeightRange(7, 9)])
    gaps.note_failed(engine, 1, [HeightRange(7, 10)])
    shown = tick(pipeline)
    assert (requests_of(shown), said(shown)) == ([], [False])
    (event,) = shown.asset_events
    assert "cannot read blocks 7-10, which the hub has" in (getattr(event, "description", None) or "")
    gaps.observe(engine, 1, [HeightRange(5, 8)])
    query = "SELECT from_height, to_height, reason FROM pipeline.gaps"
    assert [tuple(row) for row in pipeline.bench.rows(query)] == [(5, 10, "outage")]
    assert len(requests_of(tick(pipeline))) == 1


@pytest.mark.parametrize("status", [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED])
def test_a_run_that_is_on_its_way_is_waited_for(pipeline: Pipeline, status: DagsterRunStatus):
    open_gap(pipeline)
    make_run(pipeline, status, **({"start_time": 5.0} if status == DagsterRunStatus.STARTED else {}))
    assert reason(tick(pipeline)) == "a run that will heal is on its way"


def test_while_a_run_heals_there_is_no_other(pipeline: Pipeline):
    open_gap(pipeline)
    with gaps.healing_lock(pipeline.bench.replica.engine):
        assert reason(tick(pipeline)) == "a run is healing"


def test_a_run_that_died_unnoticed_is_replaced(pipeline: Pipeline):
    open_gap(pipeline)
    make_run(pipeline, DagsterRunStatus.STARTED, start_time=600.0)
    assert len(requests_of(tick(pipeline))) == 1


def test_a_gap_that_stays_open_is_tried_later_and_later(pipeline: Pipeline):
    open_gap(pipeline)
    with pipeline.bench.replica.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pipeline.gaps SET found_at = now() - interval '1 hour'")
    make_run(pipeline, DagsterRunStatus.SUCCESS, end_time=7200.0)  # it was about an older one
    assert len(requests_of(tick(pipeline))) == 1
    make_run(pipeline, DagsterRunStatus.FAILURE, end_time=50.0)
    assert len(requests_of(tick(pipeline))) == 1
    make_run(pipeline, DagsterRunStatus.FAILURE, end_time=20.0)
    assert reason(tick(pipeline)) == "1 gaps stayed open after 2 runs: waiting before the next attempt"
