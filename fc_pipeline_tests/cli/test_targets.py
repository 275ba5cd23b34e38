"""`fc-pipeline targets`, and what `sync`, `status`, `verify` and `backfill` say where only targets are replicated."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from click.testing import Result
from typer.testing import CliRunner

from fc_pipeline.cli.main import app
from fc_pipeline.errors import ConfigError, ServiceError
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database, fresh_database
from fc_pipeline_tests.support.target_network import network_of_nine

pytestmark = pytest.mark.slow

faults = Faults()


@pytest.fixture(scope="module")
def opened(
    postgres: EmbeddedPostgres, embedded_redis: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """Root 1 is named by the settings, and nothing was read."""
    ours = logging.getLogger("fc_pipeline")
    before = ours.level, list(ours.handlers), ours.propagate
    with (
        fresh_database(postgres) as database,
        serving(network_of_nine(), faults=faults) as hub_url,
        open_pipeline(
            database,
            tmp_path_factory.mktemp("pipeline"),
            hub_url,
            FC_TARGETS="set",
            FC_ROOT_FIDS="1",
            FC_REDIS_URL=embedded_redis.url(),
        ) as pipeline,
    ):
        yield pipeline
    ours.level, ours.handlers, ours.propagate = before


@pytest.fixture(scope="module")
def synced(opened: Pipeline) -> dict[str, Any]:
    """What the first `sync` says."""
    return told("sync", "--json")


@pytest.fixture
def pipeline(opened: Pipeline, synced: dict[str, Any]) -> Iterator[Pipeline]:
    """Synced; afterwards nothing is named by commands any more."""
    yield opened
    faults.refused_fids.clear()
    added = [row.fid for row in opened.bench.rows("SELECT fid FROM pipeline.target_roots WHERE named_by = 'command'")]
    for fid in added:
        run("targets", "remove", str(fid))
    with opened.bench.replica.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM pipeline.target_denials")
    assert run("sync").exit_code == 0
    assert targets() == {1: "root", 2: "followed", 3: "followed", 4: "followed"}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def told(*arguments: str) -> Any:
    """What a command says as JSON, having ended well."""
    done = run(*arguments)
    assert done.exit_code == 0, (done.stderr, done.exception)
    return json.loads(done.stdout)


def refused(*arguments: str) -> ConfigError:
    done = run(*arguments)
    assert isinstance(done.exception, ConfigError), (done.stdout, done.exception)
    assert done.exception.hint
    return done.exception


def targets() -> dict[int, str]:
    return {one["fid"]: one["reason"] for one in told("targets", "list", "--json")}


def test_sync_ends_with_complete_targets(pipeline: Pipeline, synced: dict[str, Any]):
    assert synced == {
        "complete": True,
        "blocks_read": 10,
        "blocks_missing": 0,
        "blocks_by_snapshots": 0,
        "targets_without_history": 0,
    }
    listed = told("targets", "list", "--json")
    assert [(one["fid"], one["reason"], one["via_fid"], one["username"]) for one in listed] == [
        (1, "root", None, "user1"),
        (2, "followed", 1, "user2"),
        (3, "followed", 1, "user3"),
        (4, "followed", 1, "user4"),
    ]
    assert all(one["synced_at"] and one["since"] for one in listed)
    assert set(pipeline.bench.rows("SELECT DISTINCT fid FROM casts")) == {(1,), (2,), (3,), (4,), (9,)}


def test_sync_fails_while_the_hub_refuses_a_target(pipeline: Pipeline):
    faults.refused_fids.add(6)
    told("targets", "add", "6", "--json")
    failed = run("sync", "--json")
    assert isinstance(failed.exception, ServiceError)
    assert "1 target without a complete history yet" in failed.exception.message
    assert json.loads(failed.stdout)["targets_without_history"] == 1
    assert "failing: " in run("targets", "list").stdout
    said = run("targets", "why", "6").stdout
    assert "the last attempt failed, " in said
    assert "fc-pipeline sync` does that at once" in said
    status = told("status", "--json")["targets"]
    assert (status["unsynced"], status["failing"]) == (1, 1)
    assert "1 wait for their history, 1 in vain" in run("status").stdout


def test_what_a_root_would_bring_is_said_before(pipeline: Pipeline):
    found = told("targets", "add", "5", "--root", "--what-if", "--json")
    assert (found["users"], found["already_targets"]) == (2, 1)
    assert found["messages"] > 0
    assert found["requests"] >= 12
    only_two = told("targets", "add", "5", "--root", "--most", "1", "--what-if", "--json")
    assert (only_two["users"], only_two["already_targets"]) == (1, 1)
    said = run("targets", "add", "5", "--root", "--what-if").stdout
    assert said.startswith("2 users would come in (1 more are targets already), with about ")
    assert "from a sample of 2 users" in said
    assert said.endswith("fc-pipeline targets add 5 --root\n")
    assert only_two["command"] == "fc-pipeline targets add 5 --root --most 1"
    assert told("targets", "add", "1", "--root", "--what-if", "--json")["users"] == 0
    assert set(targets()) == {1, 2, 3, 4}  # nothing was written


def test_a_root_is_added_and_brings_whom_it_follows_and_is_taken_back(pipeline: Pipeline):
    added = told("targets", "add", "5", "--root", "--json")
    assert added == {"added": [5], "removed": [], "targets": 5, "unsynced": 1}
    assert told("sync", "--json")["targets_without_history"] == 0
    assert targets() == {1: "root", 2: "followed", 3: "followed", 4: "followed", 5: "root", 6: "followed"}
    assert [one["fid"] for one in json.loads(run("targets", "list", "--reason", "root", "--json").stdout)] == [1, 5]
    why = told("targets", "why", "6", "--json")
    assert why["is_target"]
    assert "followed by root FID 5 (user5)" in why["why"][0]
    assert "Followed since 2026-11-01 00:00 UTC by root FID 5 (user5)." in why["why"]
    assert why["how_to_change"] == "To take it out: `fc-pipeline targets remove 6 --deny`."
    assert "fc-pipeline targets remove 5`" in run("targets", "why", "5").stdout
    assert "take 1 out of FC_ROOT_FIDS, then" in run("targets", "why", "1").stdout
    both = run("targets", "why", "4").stdout
    assert "followed by root FID 1 (user1)" in both
    assert "by root FID 5 (user5)" in both

    said = run("targets", "remove", "5").stdout
    assert said.startswith("0 targets added, 2 removed: 4 targets now\n")
    assert "what becomes of the rows of 2 former targets is settled then, too" in said
    former = run("targets", "why", "6")
    assert former.exit_code == 1
    assert "is no target any more: it was one (followed by FID 5" in former.stdout
    assert "fc-pipeline targets add 6 --what-if`" in former.stdout


def test_a_target_that_is_no_root_brings_nobody_and_a_root_may_bring_a_few_only(pipeline: Pipeline):
    said = run("targets", "add", "5").stdout
    assert said.startswith("1 target added, 0 removed: 5 targets now\n1 wait for their history")
    run("sync")
    assert targets() == {1: "root", 2: "followed", 3: "followed", 4: "followed", 5: "root"}
    assert "the users it follows are not for that" in run("targets", "why", "5").stdout
    assert told("targets", "add", "5", "--root", "--most", "1", "--json")["added"] == []  # 4 was followed first
    assert told("targets", "add", "5", "--root", "--most", "2", "--json")["added"] == [6]
    assert "at most 2" in run("targets", "why", "5").stdout


def test_a_denied_user_stays_out_until_named_again(pipeline: Pipeline):
    denied = told("targets", "remove", "2", "--deny", "--json")
    assert (denied["added"], denied["removed"], denied["targets"]) == ([], [2], 3)
    why = run("targets", "why", "2")
    assert why.exit_code == 1
    assert json.loads(run("targets", "why", "2", "--json").stdout)["is_target"] is False
    assert "is no target: denied" in why.stdout
    assert "fc-pipeline targets add 2`" in why.stdout
    run("sync")
    assert set(targets()) == {1, 3, 4}
    assert told("targets", "add", "2", "--json")["added"] == [2]


def test_removing_whom_a_root_follows_or_nobody_named_changes_nothing_and_says_why(pipeline: Pipeline):
    assert told("targets", "remove", "2", "--json")["still_in"] == [2]
    followed = run("targets", "remove", "2").stdout
    assert followed.startswith("0 targets added, 0 removed: 4 targets now\nstill in: FID 2 (user2) is a target since ")
    nobody = run("targets", "remove", "8").stdout
    assert "FID 8 is no target: no root, not followed by one, and not signed up through a watched client." in nobody


def test_the_settings_have_the_last_word(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    assert "FC_ROOT_FIDS names 1: the next start would bring them back" in str(refused("targets", "remove", "1,2"))
    assert "FC_ROOT_FIDS names 1" in str(refused("targets", "remove", "1", "--deny"))
    monkeypatch.setenv("FC_DENY_FIDS", "3")
    assert "FC_DENY_FIDS names 3: the next start would take them out again" in str(refused("targets", "add", "3"))
    assert set(targets()) == {1, 2, 3, 4}


def test_the_last_root_cannot_be_removed(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patched:
        patched.setenv("FC_ROOT_FIDS", "")
        assert "there is no root: nothing at all would be kept" in str(refused("targets", "remove", "1"))
        assert "there is no root" in str(refused("targets", "remove", "1", "--deny"))
    assert set(targets()) == {1, 2, 3, 4}


@pytest.mark.parametrize(
    "arguments",
    [
        ("targets", "add", "0"),
        ("targets", "add", "three"),
        ("targets", "add", ","),
        ("targets", "add", str(2**63)),
        ("targets", "add", "5", "--most", "3"),
        ("targets", "add", "5", "--root", "--most", "0"),
        ("targets", "remove", "3-1"),
        ("targets", "list", "--reason", "friend"),
    ],
)
def test_what_makes_no_sense_is_refused(pipeline: Pipeline, arguments: tuple[str, ...]):
    refused(*arguments)


@pytest.mark.parametrize("fid", ["0", "x", str(2**63)])
def test_why_takes_one_fid(pipeline: Pipeline, fid: str):
    assert run("targets", "why", fid).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [("add", "3"), ("remove", "3"), ("list",), ("why", "3"), ("add", "3", "--root", "--what-if")]
)
def test_with_everybody_replicated_there_is_no_set(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    monkeypatch.setenv("FC_TARGETS", "all")
    assert "FC_TARGETS=all: everybody is replicated, there is no target set" in str(refused("targets", *arguments))


def test_a_filled_database_stays_of_its_mode(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FC_TARGETS", "all")
    for command in ("sync", "status"):
        wrong = refused(command)
        assert wrong.message == "FC_TARGETS=all, but this database was filled with FC_TARGETS=set"
        assert "another database" in (wrong.hint or "")


def test_without_any_root_only_naming_one_works(
    pipeline: Pipeline, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FC_POSTGRES_URL", database.url)
    monkeypatch.setenv("FC_ROOT_FIDS", "")
    for arguments in (("sync",), ("status",), ("verify",), ("targets", "list"), ("targets", "remove", "3")):
        assert "there is no root: nothing at all would be kept" in str(refused(*arguments))
    assert told("targets", "add", "5", "--root", "--what-if", "--json")["users"] == 3
    assert told("targets", "add", "9", "--json")["added"] == [9]
    assert [one["fid"] for one in told("targets", "list", "--json")] == [9]


def test_status_tells_of_the_set_and_of_redis(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch):
    found = told("status", "--json")
    assert found["is_complete"]
    sound = found["targets"]
    assert (sound["targets"], sound["by_reason"], sound["unsynced"]) == (4, {"followed": 3, "root": 1}, 0)
    assert (sound["redis"], sound["redis_missing"], sound["redis_extra"]) == ("ok", 0, 0)
    assert "targets: 4 (3 followed, 1 root); Redis: ok" in run("status").stdout

    key = pipeline.bench.rows("SELECT cache_key FROM pipeline.target_set")[0].cache_key
    members = f"fc_pipeline:targets:{key}:members"
    with redis.Redis.from_url(pipeline.environment["FC_REDIS_URL"]) as client:
        client.srem(members, 2, 3)
        client.sadd(members, 77)
        drift = told("status", "--json")["targets"]
        assert (drift["redis"], drift["redis_missing"], drift["redis_extra"]) == ("drift", 2, 1)
        assert "Redis lacks 2 and has 1 too many" in run("status").stdout
        client.flushall()
    assert told("status", "--json")["targets"]["redis"] == "behind"
    monkeypatch.setenv("FC_REDIS_URL", "redis://127.0.0.1:9/0")
    assert told("status", "--json")["targets"]["redis"] == "unreachable"


def test_verify_and_backfill_say_who_is_no_target(pipeline: Pipeline):
    for command in ("verify", "backfill"):
        wrong = refused(command, "--fids", "9")
        assert wrong.message == "FID 9 is no target, and only targets are replicated (FC_TARGETS=set)"
        assert "fc-pipeline targets why 9" in (wrong.hint or "")
        assert refused(command, "--fids", "8,9").message.startswith("FIDs 8, 9 are no targets")
    found = run("verify", "--fids", "2,8,9")
    assert found.exit_code == 0
    assert found.stdout.startswith("FIDs 8, 9 are no targets, and left out\n1 FID, ")
    assert "0 differences" in found.stdout
    listed = told("verify", "--fids", "2,9", "--json")
    assert (listed["fids"], listed["not_targets"], listed["drift"]) == (1, [9], {})
    everyone = told("verify", "--json")
    assert (everyone["fids"], everyone["drift"], everyone["not_backfilled"]) == (4, {}, {})

    done = run("backfill", "--fids", "2,9", "--json")
    assert json.loads(done.stdout)["fids"] == 1
    assert "FID 9 is no target, and left out\n" in done.stderr
    assert told("backfill", "--all", "--dry-run", "--json")["fids"] == 4
