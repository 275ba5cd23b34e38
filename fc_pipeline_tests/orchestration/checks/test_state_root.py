"""`state_root`: green where the sample hub's validator signed our root; damage is red, is healed, and green again."""

from collections.abc import Iterator
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
    build_sensor_context,
)
from dagster._core.storage.runs.schema import RunsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.orchestration.checks.message_proofs import MESSAGE_PROOFS
from fc_pipeline.orchestration.checks.state_memory import MAX_HEALING_ATTEMPTS, STATE_ROOT
from fc_pipeline.orchestration.difference_job import HEAL_DIFFERENCES, heal_differing_users
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.sensors.differences import difference_sensor
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.sample_hub_process import sample_hub_process

pytestmark = pytest.mark.slow

ASSET = "reconciled_fids"
_NEWEST_CAST = "SELECT hash FROM casts WHERE deleted_at IS NULL ORDER BY version DESC LIMIT 1"
DAMAGES = {
    "deleted": f"DELETE FROM casts WHERE hash = ({_NEWEST_CAST}) RETURNING fid",
    "invented": "INSERT INTO reactions SELECT (jsonb_populate_record(r, jsonb_build_object("
    "'target', r.target || 'x', 'hash', '\\x' || md5(r.hash::text) || '00000000'))).* FROM reactions AS r "
    "WHERE deleted_at IS NULL ORDER BY version DESC LIMIT 1 RETURNING fid",
    "changed": "UPDATE user_data SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) WHERE (fid, type) = "
    "(SELECT fid, type FROM user_data WHERE deleted_at IS NULL ORDER BY version DESC LIMIT 1) RETURNING fid",
    # REACTION_REMOVE and LINK_REMOVE, of which gRPC alone tells.
    "remove forgotten": "DELETE FROM pipeline.other_leaves WHERE (shard, fid, leaf) = (SELECT shard, fid, leaf "
    "FROM pipeline.other_leaves WHERE deleted_at IS NULL AND get_byte(leaf, 0) IN (32, 48) "
    "ORDER BY version DESC LIMIT 1) RETURNING fid",
}
"""What somebody does with psql; which user it is of."""


@pytest.fixture(scope="module")
def variables() -> Iterator[dict[str, str]]:
    with sample_hub_process() as said:
        yield said


@pytest.fixture(scope="module")
def pipeline(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]
) -> Iterator[Pipeline]:
    settings = dict(variables)
    url = settings.pop("FC_HUB_URLS")
    with (
        fresh_database(postgres) as database,
        open_pipeline(database, tmp_path_factory.mktemp("pipeline"), url, **settings) as opened,
    ):
        opened.bench.run()
        yield opened


def evaluated(pipeline: Pipeline) -> AssetCheckEvaluation:
    (evaluation,) = pipeline.evaluate(ASSET, STATE_ROOT).get_asset_check_evaluations()
    return evaluation


def lines(evaluation: AssetCheckEvaluation, table: str) -> list[dict[str, Any]]:
    value = evaluation.metadata[table]
    assert isinstance(value, TableMetadataValue)
    return [dict(record.data) for record in value.records]


def tick(pipeline: Pipeline) -> RunRequest | str:
    context = build_sensor_context(instance=pipeline.instance, resources={"replica": ReplicaResource()})
    result = difference_sensor(context)
    assert isinstance(result, RunRequest | SkipReason)
    return result if isinstance(result, RunRequest) else result.skip_message or ""


def heal(pipeline: Pipeline) -> AssetCheckEvaluation:
    """By the run that the sensor asks for; what the check says then."""
    request = tick(pipeline)
    assert isinstance(request, RunRequest), request
    result = pipeline.launch(request, HEAL_DIFFERENCES.name)
    assert result.output_for_node(heal_differing_users.name)["fids"] == 1
    return newest(pipeline)


def newest(pipeline: Pipeline) -> AssetCheckEvaluation:
    found = pipeline.checks(ASSET, STATE_ROOT)[None]
    assert found is not None
    return found


def hashes(pipeline: Pipeline) -> list[Any]:
    tables = ("casts", "reactions", "user_data")
    of_each = (f"SELECT '{name}', fid, hash FROM {name} WHERE deleted_at IS NULL" for name in tables)
    return sorted(tuple(map(str, row)) for row in pipeline.bench.rows(" UNION ALL ".join(of_each)))


def execute(pipeline: Pipeline, *statements: str) -> None:
    with pipeline.bench.replica.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def backfilled(pipeline: Pipeline, fid: int) -> int:
    """The user is made equal to the hub by hand; how many records the hub has of it."""
    return Backfill(pipeline.bench.replica, "by hand", BackfillScope.of_fids([fid])).execute().reconciled.messages


def end_runs_earlier(pipeline: Pipeline) -> None:
    """The pause before the next attempt is over."""
    storage = pipeline.instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    with storage.connect() as connection:
        connection.execute(sa.update(RunsTable).values(end_time=RunsTable.c.end_time - 3600.0))


def forget_results(pipeline: Pipeline) -> None:
    pipeline.instance.wipe_assets([AssetKey(ASSET)])


def damage(pipeline: Pipeline, statement: str) -> int:
    with pipeline.bench.replica.engine.begin() as connection:
        return connection.execute(sa.text(statement)).scalar_one()


@pytest.fixture(autouse=True)
def no_runs(pipeline: Pipeline) -> Iterator[None]:
    yield
    for run in pipeline.instance.get_runs():
        pipeline.instance.delete_run(run.run_id)


def test_a_sound_replica_is_proved_by_consensus(pipeline: Pipeline) -> None:
    sound = evaluated(pipeline)
    assert sound.passed, sound.description
    assert sound.metadata["shards_proved"].value == "2 of 2"
    shards = lines(sound, "shards")
    assert [one["proved"] for one in shards] == ["consensus"] * 2
    assert [one["validators"] for one in shards] == ["1 of 1"] * 2
    assert all(one["our_root"] == one["header_root"] != "" for one in shards)
    assert sum(one["leaves"] for one in shards) == sound.metadata["leaves"].value > 1_000
    assert lines(sound, "differing") == []
    assert tick(pipeline) == "state_root names nobody who differs"


@pytest.mark.parametrize("statement", DAMAGES.values(), ids=DAMAGES)
def test_damage_by_hand_is_red_healed_by_itself_and_green(pipeline: Pipeline, statement: str) -> None:
    assert evaluated(pipeline).passed
    before = hashes(pipeline)
    fid = damage(pipeline, statement)
    red = evaluated(pipeline)
    assert (red.passed, red.severity) == (False, AssetCheckSeverity.ERROR), red.description
    assert {one["fid"] for one in lines(red, "differing")} == {fid}
    assert f"fc-pipeline backfill --fids {fid}" in (red.description or "")
    assert red.metadata["healing_attempts"].value == {str(fid): 0}
    green = heal(pipeline)
    assert green.passed, green.description
    assert tick(pipeline) == "state_root names nobody who differs"
    assert hashes(pipeline) == before


def test_whom_the_hub_cannot_mend_stays_red_and_is_compared_no_more(pipeline: Pipeline) -> None:
    """Somebody's trigger takes a cast away again whenever it comes."""
    assert evaluated(pipeline).passed
    execute(
        pipeline,
        "CREATE FUNCTION drop_it() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER drops_it BEFORE INSERT ON casts FOR EACH ROW EXECUTE FUNCTION drop_it()",
    )
    fid = damage(pipeline, DAMAGES["deleted"])
    try:
        assert not evaluated(pipeline).passed
        for attempt in range(1, MAX_HEALING_ATTEMPTS + 1):
            red = heal(pipeline)
            assert not red.passed
            assert red.metadata["healing_attempts"].value == {str(fid): attempt}
            assert tick(pipeline) in (
                "1 users differ still: waiting before the next attempt",
                f"each of the 1 users who differ was compared {MAX_HEALING_ATTEMPTS} times in vain",
            )
            end_runs_earlier(pipeline)
        assert f"{MAX_HEALING_ATTEMPTS} times in vain" in str(tick(pipeline))
        again = evaluated(pipeline)  # as the schedule does
        assert again.severity is AssetCheckSeverity.ERROR
        assert f"compared with the hub {MAX_HEALING_ATTEMPTS} times in vain: {fid}" in (again.description or "")
        assert "asset materialize -m fc_pipeline.definitions --select casts --partition" in (again.description or "")
        assert f"{MAX_HEALING_ATTEMPTS} times in vain" in str(tick(pipeline))
    finally:
        execute(pipeline, "DROP FUNCTION drop_it CASCADE")
    assert backfilled(pipeline, fid)
    assert evaluated(pipeline).passed


def test_a_digest_that_was_changed_is_made_again_and_nobody_differs(pipeline: Pipeline) -> None:
    damage(
        pipeline,
        "UPDATE pipeline.fid_digests SET hash = set_byte(hash, 0, get_byte(hash, 0) # 1) "
        "WHERE (shard, fid) = (SELECT shard, min(fid) FROM pipeline.fid_digests GROUP BY shard LIMIT 1) RETURNING fid",
    )
    assert evaluated(pipeline).passed


def test_what_is_missing_from_before_the_feed_is_yellow_until_the_root_was_proved_once(pipeline: Pipeline) -> None:
    forget_results(pipeline)
    fid = damage(pipeline, DAMAGES["deleted"])
    unknown = evaluated(pipeline)
    assert (unknown.passed, unknown.severity) == (False, AssetCheckSeverity.WARN)
    assert "the feed was read from height" in (unknown.description or "")
    assert tick(pipeline) == "state_root names nobody who differs"
    assert backfilled(pipeline, fid)
    assert evaluated(pipeline).passed


def test_without_grpc_leaves_are_counted(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluated(pipeline).passed
    monkeypatch.delenv("FC_HUB_GRPC")
    monkeypatch.delenv("FC_VALIDATORS")
    counted = evaluated(pipeline)
    assert counted.passed, counted.description
    assert [one["proved"] for one in lines(counted, "shards")] == ["counts"] * 2
    fid = damage(pipeline, DAMAGES["invented"].replace("'x'", "'y'"))
    red = evaluated(pipeline)
    assert (red.passed, red.severity) == (False, AssetCheckSeverity.ERROR)
    assert "fc-pipeline backfill --all" in (red.description or "")
    assert tick(pipeline) == "state_root names nobody who differs"
    assert backfilled(pipeline, fid)
    assert evaluated(pipeline).passed


def test_a_hub_that_does_not_answer_is_yellow(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FC_HUB_URLS", "http://127.0.0.1:9")
    found = evaluated(pipeline)
    assert (found.passed, found.severity) == (False, AssetCheckSeverity.WARN)
    assert "no hub to compare with" in (found.description or "")


def test_messages_are_proved_and_a_changed_one_is_named(pipeline: Pipeline) -> None:
    def looked_at() -> AssetCheckEvaluation:
        (found,) = pipeline.evaluate(ASSET, MESSAGE_PROOFS).get_asset_check_evaluations()
        return found

    sound = looked_at()
    assert sound.passed, sound.description
    assert sound.metadata["messages_proved"].value > 500
    fid = damage(pipeline, f"UPDATE casts SET text = text || '!' WHERE hash = ({_NEWEST_CAST}) RETURNING fid")
    red = looked_at()
    assert (red.passed, red.severity) == (False, AssetCheckSeverity.ERROR)
    assert fid in {one["fid"] for one in lines(red, "forged")}
    assert "fc-pipeline backfill --fids" in (red.description or "")
