"""The asset `targets` in real runs: what it reports, its checks, Redis tampered with, and settings that change."""

from collections.abc import Collection, Iterator
from typing import Any

import pytest
import redis
from dagster import AssetCheckEvaluation, RunRequest

from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.assets.targets import TARGETS_ASSET
from fc_pipeline.orchestration.jobs import TARGET_SET_JOB
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline.targets import coherence
from fc_pipeline_tests.support.comparing import UNTOLD
from fc_pipeline_tests.support.comparing import complete as sync
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.target_network import CASTS, CLIENT, HOUR_OF_ALL, network_of_nine
from fc_pipeline_tests.support.workbench import Workbench

pytestmark = pytest.mark.slow

CHECKS = ("redis_equals_postgres", "histories_complete")
SET_BY_ROOT = [1, 2, 3, 4]
REPLY, MENTION = "reply to 2", "mention of 3"


@pytest.fixture(scope="module")
def hub_url() -> Iterator[str]:
    with serving(network_of_nine()) as url:
        yield url


@pytest.fixture(scope="module")
def pipeline(
    hub_url: str,
    postgres: EmbeddedPostgres,
    embedded_redis: EmbeddedRedis,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pipeline]:
    """The hour is read with root 1, and its targets are complete."""
    with (
        fresh_database(postgres) as database,
        open_pipeline(
            database,
            tmp_path_factory.mktemp("pipeline"),
            hub_url,
            FC_TARGETS="set",
            FC_ROOT_FIDS="1",
            FC_REDIS_URL=embedded_redis.url(),
        ) as pipeline,
    ):
        assert pipeline.materialize(hour=HOUR_OF_ALL).success
        complete(pipeline)
        yield pipeline


@pytest.fixture
def change(pipeline: Pipeline) -> Iterator[Any]:
    """Changes settings for the test; afterwards they are as before, and so are set and rows."""
    before = live(pipeline)
    with pytest.MonkeyPatch.context() as patch:

        def setting(**variables: str) -> None:
            for name, value in variables.items():
                patch.setenv(name, value)

        yield setting
    complete(pipeline)
    assert targets(pipeline) == SET_BY_ROOT
    assert live(pipeline) == before


def compute(pipeline: Pipeline) -> dict[str, Any]:
    """Materialise `targets`; its metadata."""
    assert pipeline.launch(RunRequest(), TARGET_SET_JOB.name).success
    return pipeline.metadata(TARGETS_ASSET)


def complete(pipeline: Pipeline) -> None:
    """As the run does that the sensor asks for, by the settings as they are now."""
    with open_replica(Settings.load(dotenv=None)) as replica:
        sync(Workbench(replica, pipeline.bench.tables))


def check(pipeline: Pipeline, name: str) -> AssetCheckEvaluation:
    return pipeline.checks(TARGETS_ASSET, name)[None]


def targets(pipeline: Pipeline) -> list[int]:
    return [row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.targets ORDER BY fid")]


def reasons(pipeline: Pipeline) -> dict[int, tuple[str, int | None]]:
    rows = pipeline.bench.rows("SELECT fid, reason, via_fid FROM pipeline.targets")
    return {row.fid: (row.reason, row.via_fid) for row in rows}


def unsynced(pipeline: Pipeline) -> set[int]:
    return {row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.targets WHERE synced_at IS NULL")}


def former(pipeline: Pipeline) -> dict[int, str | None]:
    return {row.fid: row.policy for row in pipeline.bench.rows("SELECT fid, policy FROM pipeline.former_targets")}


def live(pipeline: Pipeline) -> dict[str, list[str]]:
    """The live rows of all tables, without the columns that say how they came."""
    found: dict[str, list[str]] = {}
    for name, table in DATA_TABLES.items():
        left_out = {"version", "block_time", "network_time", "deleted_at", "deleted_reason", *UNTOLD.get(name, ())}
        columns = ", ".join(column for column in table.names if column not in left_out)
        rows = pipeline.bench.rows(f"SELECT ({columns})::text AS row FROM {name} WHERE deleted_at IS NULL ORDER BY 1")
        found[name] = [row.row for row in rows]
    return found


def fids_of(pipeline: Pipeline, table: str) -> set[int]:
    return {row.fid for row in pipeline.bench.rows(f"SELECT DISTINCT fid FROM {table} WHERE deleted_at IS NULL")}


def texts(pipeline: Pipeline) -> set[str]:
    return {row.text for row in pipeline.bench.rows("SELECT text FROM casts WHERE deleted_at IS NULL")}


def casts_of(fids: Collection[int]) -> set[str]:
    return {CASTS[fid]["data"]["castAddBody"]["text"] for fid in fids}


def test_it_reports_the_set_and_both_checks_are_green(pipeline: Pipeline):
    metadata = compute(pipeline)
    assert {name: metadata[name] for name in ("dagster/row_count", "targets_root", "targets_followed")} == {
        "dagster/row_count": 4,
        "targets_root": 1,
        "targets_followed": 3,
    }
    assert (metadata["unsynced"], metadata["failing"], metadata["added"], metadata["removed"]) == (0, 0, 0, 0)
    assert [dict(record.data) for record in metadata["sample"]][1].items() >= {
        "fid": "2",
        "username": "user2",
        "reason": "followed",
        "via_fid": "1",
    }.items()
    for name in CHECKS:
        assert check(pipeline, name).passed
    cached = check(pipeline, CHECKS[0]).metadata
    assert (cached["targets"].value, cached["cached"].value) == (4, 4)
    assert reasons(pipeline) == {1: ("root", None), 2: ("followed", 1), 3: ("followed", 1), 4: ("followed", 1)}
    assert texts(pipeline) == casts_of(SET_BY_ROOT) | {REPLY, MENTION}
    assert fids_of(pipeline, "user_profiles") == set(SET_BY_ROOT)
    assert fids_of(pipeline, "links") == {1, 5, 9}  # 5 follows 4, and 9 follows 2


def members_key(pipeline: Pipeline) -> str:
    key = pipeline.bench.rows("SELECT cache_key FROM pipeline.target_set")[0].cache_key
    return f"fc_pipeline:targets:{key}:members"


def test_redis_tampered_with_is_red_repaired_and_asked_for_again(pipeline: Pipeline):
    compute(pipeline)
    key = members_key(pipeline)
    with redis.Redis.from_url(pipeline.environment["FC_REDIS_URL"]) as client:
        client.srem(key, 2, 3)
        client.sadd(key, 77)
        compute(pipeline)
        red = check(pipeline, "redis_equals_postgres")
        assert not red.passed
        assert red.severity.value == "ERROR"
        assert red.description == "2 targets were missing in Redis, 1 only there; it is put right"
        assert (red.metadata["missing"].value, red.metadata["extra"].value) == (2, 1)
        assert client.smembers(key) == {b"1", b"2", b"3", b"4"}
    assert unsynced(pipeline) == {2, 3}
    compute(pipeline)
    assert check(pipeline, "redis_equals_postgres").passed
    complete(pipeline)
    assert unsynced(pipeline) == set()


def test_an_emptied_redis_is_filled_and_one_that_is_away_is_said(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    compute(pipeline)
    with redis.Redis.from_url(pipeline.environment["FC_REDIS_URL"]) as client:
        client.flushall()
        compute(pipeline)
        behind = check(pipeline, "redis_equals_postgres")
        assert behind.passed
        assert behind.metadata["was_behind"].value is True
        assert len(client.smembers(members_key(pipeline))) == 4
    monkeypatch.setenv("FC_REDIS_URL", "redis://127.0.0.1:9/0")
    compute(pipeline)
    away = check(pipeline, "redis_equals_postgres")
    assert (away.passed, away.severity.value) == (False, "WARN")
    assert "Redis does not answer" in (away.description or "")


def test_a_redis_ahead_of_a_restored_postgres_is_not_believed_later(pipeline: Pipeline):
    """Its generations to come would meet those that Redis has of another past."""
    key = members_key(pipeline)
    generation_key = key.replace("members", "generation")
    generation = pipeline.bench.rows("SELECT generation FROM pipeline.target_set")[0].generation
    url = pipeline.environment["FC_REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        for put_right in (coherence.repair, coherence.warm):
            client.sadd(key, 77)
            client.srem(key, 3)
            client.set(generation_key, generation + 5)
            put_right(pipeline.bench.replica.engine, url)
            assert client.smembers(key) == {b"1", b"2", b"3", b"4"}
            assert client.get(generation_key) == str(generation).encode()
        client.sadd(key, 77)
        client.set(generation_key, generation - 1)  # behind, and wrong besides
        coherence.repair(pipeline.bench.replica.engine, url)
        assert client.smembers(key) == {b"1", b"2", b"3", b"4"}
    assert unsynced(pipeline) == set()


def test_a_history_that_fails_or_waits_for_long_is_a_warning(pipeline: Pipeline):
    def set_targets(values: str) -> None:
        with pipeline.bench.replica.engine.begin() as connection:
            connection.exec_driver_sql(f"UPDATE pipeline.targets SET {values} WHERE fid = 4")

    set_targets("synced_at = NULL, since = now(), attempts = 2, failure = 'the hub dies of it'")
    compute(pipeline)
    red = check(pipeline, "histories_complete")
    assert (red.passed, red.severity.value) == (False, "WARN")
    assert red.description == "1 targets wait for their history, 1 of them in vain until now: the hub dies of it"
    set_targets("attempts = 0, failure = NULL, since = now() - interval '2 hours'")
    compute(pipeline)
    assert not check(pipeline, "histories_complete").passed
    set_targets("since = now()")
    compute(pipeline)
    assert check(pipeline, "histories_complete").passed
    complete(pipeline)


def test_a_removed_target_is_dropped_with_what_only_it_explains(pipeline: Pipeline, change: Any):
    before = live(pipeline)
    change(FC_DENY_FIDS="2")
    metadata = compute(pipeline)
    assert (metadata["removed"], metadata["former"]) == (1, 1)
    assert metadata["rows_dropped"] > 0
    assert former(pipeline) == {2: "drop"}
    assert texts(pipeline) == casts_of([1, 3, 4]) | {MENTION}
    after = live(pipeline)
    assert all(set(after[name]) <= set(before[name]) for name in before)
    rows = pipeline.bench.rows("SELECT fid, target_fid FROM links WHERE deleted_at IS NULL ORDER BY 1, 2")
    assert [tuple(row) for row in rows] == [(1, 2), (1, 3), (1, 4), (5, 4)]
    assert after["reactions"] == []
    for table in ("user_profiles", "user_data", "on_chain_events", "username_proofs", "fid_activity"):
        assert fids_of(pipeline, table) == {1, 3, 4}, table


def test_a_removed_target_is_kept_where_the_owner_wants_that(pipeline: Pipeline, change: Any):
    before = pipeline.tables()
    change(FC_DENY_FIDS="2", FC_REMOVED_TARGETS="keep")
    metadata = compute(pipeline)
    assert (metadata["removed"], metadata["rows_dropped"]) == (1, 0)
    assert former(pipeline) == {2: "keep"}
    assert pipeline.tables() == before
    row = pipeline.bench.rows("SELECT reason, via_fid, settled_at FROM pipeline.former_targets")[0]
    assert (row.reason, row.via_fid) == ("followed", 1)
    assert row.settled_at is not None


def test_mentions_are_switched_off_and_on(pipeline: Pipeline, change: Any):
    change(FC_TARGET_MENTIONS="false")
    assert compute(pipeline)["rows_dropped"] == 3  # the cast, its mention and its thread
    assert texts(pipeline) == casts_of(SET_BY_ROOT) | {REPLY}
    assert unsynced(pipeline) == set()
    pipeline.materialize(hour=HOUR_OF_ALL)  # the hour once more, from the raw log
    assert MENTION not in texts(pipeline)
    change(FC_TARGET_MENTIONS="true")
    compute(pipeline)
    assert unsynced(pipeline) == set(SET_BY_ROOT)
    complete(pipeline)
    assert texts(pipeline) == casts_of(SET_BY_ROOT) | {REPLY, MENTION}


def test_a_root_brings_the_longest_followed_only(pipeline: Pipeline, change: Any):
    change(FC_FOLLOWED_PER_ROOT="2")
    assert compute(pipeline)["removed"] == 1
    assert targets(pipeline) == [1, 2, 3]
    assert "cast of 4" not in texts(pipeline)
    change(FC_FOLLOWED_PER_ROOT="1", FC_DENY_FIDS="2")
    compute(pipeline)
    assert targets(pipeline) == [1]  # a denied one does not give its place away


def test_an_app_watched_later_brings_who_signed_up_before_and_takes_them_away_again(pipeline: Pipeline, change: Any):
    assert 7 not in fids_of(pipeline, "on_chain_events")  # so the sign-up is in the raw log alone
    change(FC_CLIENT_FIDS=str(CLIENT))
    compute(pipeline)
    assert targets(pipeline) == SET_BY_ROOT
    complete(pipeline)
    assert reasons(pipeline).items() >= {7: ("client", CLIENT), 8: ("followed", 7)}.items()
    assert unsynced(pipeline) == set()
    assert texts(pipeline) == casts_of([1, 2, 3, 4, 7, 8]) | {REPLY, MENTION}
    change(FC_CLIENT_FIDS="")
    compute(pipeline)
    assert targets(pipeline) == SET_BY_ROOT
    assert former(pipeline) == {7: "drop", 8: "drop"}


def test_roots_are_exchanged_between_runs(pipeline: Pipeline, change: Any):
    change(FC_ROOT_FIDS="5")
    metadata = compute(pipeline)
    assert (metadata["added"], metadata["removed"]) == (1, 3)
    complete(pipeline)
    assert reasons(pipeline) == {5: ("root", None), 4: ("followed", 5), 6: ("followed", 5)}
    assert texts(pipeline) == casts_of([4, 5, 6])


def test_settings_that_name_nobody_fail_the_run_and_change_nothing(pipeline: Pipeline, change: Any):
    change(FC_ROOT_FIDS="")
    failed = pipeline.launch(RunRequest(), TARGET_SET_JOB.name, raise_on_error=False)
    assert not failed.success
    assert targets(pipeline) == SET_BY_ROOT


def test_with_everybody_replicated_there_is_nothing_to_object_to(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    monkeypatch.setenv("FC_TARGETS", "all")
    assert compute(pipeline) == {"targets": "everybody (FC_TARGETS=all)"}
    assert all(check(pipeline, name).passed for name in CHECKS)
