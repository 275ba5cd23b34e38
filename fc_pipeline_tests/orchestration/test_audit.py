"""The daily audit: which buckets it takes, and what it says of a replica that was right, and of one that was not."""

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import (
    AssetCheckEvaluation,
    AssetCheckSeverity,
    AssetKey,
    RunRequest,
    SkipReason,
    TableMetadataValue,
    build_schedule_context,
)

from fc_pipeline.backfill.equal_hashes import EqualHashes, equal_hashes
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.grpc_nodes import GrpcNodes
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.live_set.upkeep import digest_keeper
from fc_pipeline.orchestration.assets.bucket_reports import RECONCILED
from fc_pipeline.orchestration.checks.drift import NO_DRIFT
from fc_pipeline.orchestration.jobs import SNAPSHOTS
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.schedules import daily_audit
from fc_pipeline.repair.audit import proved_users
from fc_pipeline.replica import grpc_endpoints
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.status.audit import next_buckets
from fc_pipeline.store.bookkeeping import SNAPSHOT_ROUNDS
from fc_pipeline.store.snapshot_ledger import ALL_FIDS
from fc_pipeline_tests.support.pipeline import Pipeline, defs, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.sample_hub_process import sample_hub_process

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pipeline(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    data_dir = tmp_path_factory.mktemp("pipeline")
    with sample_hub() as url, fresh_database(postgres) as database, open_pipeline(database, data_dir, url) as opened:
        yield opened


def asked_for(pipeline: Pipeline) -> Any:
    context = build_schedule_context(
        instance=pipeline.instance,
        scheduled_execution_time=datetime(2026, 11, 2, 4, 20, tzinfo=UTC),
        resources={"replica": ReplicaResource()},
    )
    return daily_audit(context)


def audit(pipeline: Pipeline) -> AssetCheckEvaluation:
    """Do what the schedule asks for; the newest result of the check."""
    request = asked_for(pipeline)
    assert isinstance(request, RunRequest)
    job = defs.resolve_job_def(SNAPSHOTS.name)
    done = job.execute_in_process(instance=pipeline.instance, tags=request.tags, run_config=request.run_config)
    assert done.success
    return pipeline.checks(RECONCILED, NO_DRIFT)[None]


def shown(evaluation: AssetCheckEvaluation) -> list[tuple[Any, Any]]:
    """Bucket and wrong rows, as the table has them."""
    table = evaluation.metadata["buckets"]
    assert isinstance(table, TableMetadataValue)
    return [(record.data["bucket"], record.data["wrong_rows"]) for record in table.records]


def compare(pipeline: Pipeline, *buckets: int) -> AssetCheckEvaluation:
    """Compare buckets with the hub by hand; the newest result of the check."""
    backfill = Backfill(pipeline.bench.replica, "by hand", BackfillScope(buckets))
    backfill.execute()
    (evaluation,) = pipeline.evaluate(RECONCILED, NO_DRIFT).get_asset_check_evaluations()
    return evaluation


def execute(pipeline: Pipeline, statement: sa.Executable) -> Any:
    with pipeline.bench.replica.engine.begin() as connection:
        return connection.execute(statement)


def test_nothing_is_asked_for_before_anything_was_read(pipeline: Pipeline) -> None:
    assert isinstance(asked_for(pipeline), SkipReason)


def test_buckets_have_their_turn_and_wrong_rows_are_told_and_corrected(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.bench.run()
    monkeypatch.setenv("FC_AUDIT_DAYS", "64")
    assert next_buckets(pipeline.bench.replica, 64) == range(4)
    evaluated = audit(pipeline)
    assert evaluated.passed
    assert {bucket for bucket, _ in shown(evaluated)} <= {"000", "001", "002", "003"}
    assert evaluated.metadata["fids_compared"].value > 1
    assert next_buckets(pipeline.bench.replica, 64) == range(4, 8)

    # Three wrong rows are few, twenty are not.
    rows = "SELECT ctid FROM reactions WHERE fid % 256 = {} AND deleted_at IS NULL LIMIT {}"
    damage = f"UPDATE reactions SET timestamp = '2026-12-01' WHERE ctid = ANY (ARRAY({rows}))"
    for bucket, count in ((4, 3), (5, 20)):
        assert execute(pipeline, sa.text(damage.format(bucket, count))).rowcount == count
    evaluated = audit(pipeline)
    assert (evaluated.passed, evaluated.severity) == (False, AssetCheckSeverity.ERROR)
    assert shown(evaluated)[:2] == [("005", 20), ("004", 3)]
    assert evaluated.metadata["drift_rows"].value == 23
    assert "bucket 005 has most of them (20)" in (evaluated.description or "")
    named = re.search(r"fc-pipeline backfill --fids (\S+) compares again", evaluated.description or "")
    assert named is not None
    assert {int(fid) % 256 for fid in named[1].split(",")} == {4, 5}
    assert pipeline.bench.rows("SELECT count(*) FROM reactions WHERE timestamp = '2026-12-01'")[0][0] == 0

    # Another bucket's clean round hides nothing; a later round over a bucket clears what was found in it.
    evaluated = compare(pipeline, 6)
    assert shown(evaluated)[:2] == [("005", 20), ("004", 3)]
    evaluated = compare(pipeline, 5)
    assert (evaluated.passed, evaluated.severity) == (False, AssetCheckSeverity.WARN)
    assert shown(evaluated)[0] == ("004", 3)
    evaluated = compare(pipeline, 4)
    assert evaluated.passed
    assert pipeline.bench.rows("SELECT count(*) FROM pipeline.drift")[0][0] == 23  # on record for ever


def test_who_has_waited_longest_is_next_and_every_bucket_has_its_turn_in_time(pipeline: Pipeline) -> None:
    execute(pipeline, sa.delete(SNAPSHOT_ROUNDS))
    turns: dict[int, int] = {}
    for day in range(1, 31):
        for bucket in next_buckets(pipeline.bench.replica, 30):
            turns.setdefault(bucket, day)
            begun = datetime(2026, 1, day, 4, tzinfo=UTC)
            values = {"bucket": bucket, "scope": ALL_FIDS, "started_at": begun, "finished_at": begun, "run_id": "audit"}
            execute(pipeline, sa.insert(SNAPSHOT_ROUNDS).values(values))
    assert sorted(turns) == list(range(256))
    # A round over a few users, or one that was cut short, is no turn.
    later = datetime(2026, 2, 1, tzinfo=UTC)
    first = next_buckets(pipeline.bench.replica, 256)[0]
    for scope, finished in (("a digest", later), (ALL_FIDS, None)):
        values = {"bucket": first, "scope": scope, "started_at": later, "finished_at": finished, "run_id": "audit"}
        execute(pipeline, sa.insert(SNAPSHOT_ROUNDS).values(values))
    assert next_buckets(pipeline.bench.replica, 256) == range(first, first + 1)


@pytest.fixture(scope="module")
def proving(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    data_dir = tmp_path_factory.mktemp("proving")
    with sample_hub_process() as settings, fresh_database(postgres) as database:
        url = settings["FC_HUB_URLS"]
        others = {name: value for name, value in settings.items() if name != "FC_HUB_URLS"}
        with open_pipeline(database, data_dir, url, **others) as opened:
            opened.bench.run()
            yield opened


def test_where_a_hub_tells_hashes_only_users_who_differ_are_read(
    proving: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FC_AUDIT_DAYS", "8")
    assert audit(proving).passed  # what was before the feed is read
    execute(proving, sa.delete(SNAPSHOT_ROUNDS))
    assert audit(proving).passed
    assert figures(proving)["run_equal_fids"] > figures(proving)["run_fids_done"]
    # The text of one user, whose hashes are as they were, and a row of another.
    execute(proving, sa.delete(SNAPSHOT_ROUNDS))
    live = "SELECT fid, hash FROM {} WHERE fid BETWEEN 1 AND 31 AND deleted_at IS NULL ORDER BY fid {} LIMIT 1"
    execute(proving, sa.text(f"UPDATE casts SET text = 'forged' WHERE (fid, hash) = ({live.format('casts', 'ASC')})"))
    execute(proving, sa.text(f"DELETE FROM reactions WHERE (fid, hash) = ({live.format('reactions', 'DESC')})"))
    evaluated = audit(proving)
    assert evaluated.metadata["drift_by_table"].value == {"casts": 1, "reactions": 1}
    assert figures(proving)["run_equal_fids"] > figures(proving)["run_fids_done"]
    assert proving.bench.rows("SELECT 1 FROM casts WHERE text = 'forged'") == []


def test_while_no_hub_tells_hashes_everybody_is_read(proving: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FC_AUDIT_DAYS", "8")
    monkeypatch.delenv("FC_HUB_GRPC")
    execute(proving, sa.delete(SNAPSHOT_ROUNDS))
    audit(proving)
    assert (figures(proving)["run_equal_fids"], figures(proving)["run_fids_done"] > 1) == (0, True)


def test_a_hub_that_does_not_answer_over_grpc_names_nobody(proving: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FC_HUB_GRPC", "http://127.0.0.1:9")
    replica = proving.bench.replica

    async def named() -> EqualHashes:
        async with HubPool(replica.hub_endpoints) as hubs, GrpcNodes(grpc_endpoints(Settings.load())) as nodes:
            return await proved_users(replica, hubs, nodes, [1, 2, 3])

    assert asyncio.run(named()) == EqualHashes(frozenset(), 0)


def test_hashes_are_of_the_rows_as_they_are_however_many_users_are_compared(proving: Pipeline) -> None:
    """Digests that were made before a row was deleted by hand say nothing; the users are more than fit into a part."""
    replica = proving.bench.replica
    shard_count = replica.shard_count()
    assert shard_count is not None
    with digest_keeper(replica, "test", shard_count) as keeper:
        keeper.refresh(all_fids=True)
    users = sorted({fid for (fid,) in proving.bench.rows("SELECT fid FROM links WHERE deleted_at IS NULL")})
    asked = [*range(1_000_001, 1_001_200), *users]

    def equal() -> frozenset[int]:
        async def compared() -> EqualHashes:
            async with GrpcNodes(grpc_endpoints(Settings.load())) as nodes:
                node = await nodes.usable()
                assert node is not None
                with LiveSetView(replica.settings.libpq_url(), "test", shard_count) as view:
                    return await equal_hashes(view, node, asked)

        return asyncio.run(compared()).fids

    before = equal()
    assert 1 < len(before) <= len(users)
    execute(proving, sa.text(f"DELETE FROM links WHERE fid = {min(before)}"))
    assert equal() == before - {min(before)}


def figures(pipeline: Pipeline) -> dict[str, Any]:
    """What the newest materialisation says of its whole run."""
    event = pipeline.instance.get_latest_materialization_event(AssetKey(RECONCILED))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}
