"""`fc-pipeline prove` on what a recorded node's feed was folded to, asked as its user would."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from fc_pipeline.cli.main import app
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES
from fc_pipeline.proving.shard_proof import fid_of
from fc_pipeline.repair.keys import is_anything_due, read_due_keys
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support.live_sets import LiveSet
from fc_pipeline_tests.support.node_leaves import take_from_node
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.recorded_leaves import gasless_leaves
from fc_pipeline_tests.support.recorded_node import served_node
from fc_pipeline_tests.support.replayed_grpc import replayed_grpc
from fc_pipeline_tests.support.workbench import Workbench, workbench

pytestmark = pytest.mark.slow

SHARDS = (1, 2)
LEAVES = {1: 1779, 2: 1532}


Prove = Callable[..., str]


@pytest.fixture(scope="module")
def recorded(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, shared_fixtures: Path
) -> Iterator[Workbench]:
    """All that the feed tells, and the leaves and keys that it does not."""
    lake = tmp_path_factory.mktemp("lake")
    with (
        fresh_database(postgres) as database,
        served_node(shared_fixtures) as url,
        workbench(database, lake, url) as bench,
    ):
        bench.run()
        with bench.tables.engine.begin() as connection:
            for shard in SHARDS:
                leaves: dict[int, list[bytes]] = {}
                for key in gasless_leaves(shared_fixtures, shard):
                    leaves.setdefault(fid_of(key), []).append(key[FID_PREFIX_BYTES:])
                take_from_node(connection, shard, 1, leaves)
        assert is_anything_due(bench.replica)
        read_due_keys(bench.replica, "keys")
        yield bench


@pytest.fixture
def prove(recorded: Workbench, monkeypatch: pytest.MonkeyPatch) -> Prove:
    settings = recorded.replica.settings
    monkeypatch.setenv("FC_POSTGRES_URL", settings.libpq_url())
    monkeypatch.setenv("FC_LAKE_URI", settings.lake_uri)
    monkeypatch.setenv("FC_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("FC_HUB_URLS", settings.hub_urls[0])

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["prove", *arguments])
        assert done.exit_code == code, done.output
        return done.stdout

    return run


def test_counts_alone(prove: Prove) -> None:
    found = json.loads(prove("--json"))
    assert found["proved"] is True
    assert found["not_known"] == []
    assert {one["shard"]: one["leaves"] for one in found["shards"]} == LEAVES
    assert [one["counts"]["proved"] for one in found["shards"]] == [True, True]
    assert [one["root"]["proved"] for one in found["shards"]] == [None, None]
    shown = prove("--shard", "2")
    assert "1,532 leaves, as the hub says at this height" in shown
    assert "FC_HUB_GRPC is not set" in shown
    assert "shard 1" not in shown


def test_what_cannot_be_known_is_told(prove: Prove, recorded: Workbench) -> None:
    with recorded.tables.engine.begin() as connection:
        connection.execute(sa.text("UPDATE pipeline.coverage SET from_height = 2 WHERE from_height = 1 AND shard = 2"))
    try:
        (line,) = json.loads(prove("--json"))["not_known"]
        assert line.startswith("shard 2: the feed was read from height 2 on")
        assert "not known: shard 2" in prove()
        assert "not known" not in prove("--shard", "1")
    finally:
        with recorded.tables.engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE pipeline.coverage SET from_height = 1 WHERE from_height = 2 AND shard = 2")
            )


def test_the_root_that_validators_signed(prove: Prove, shared_fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with replayed_grpc(shared_fixtures) as url:
        monkeypatch.setenv("FC_HUB_GRPC", url)
        monkeypatch.setenv("FC_VALIDATORS", "00" * 32)
        refused = prove(code=1)
        key = next(line for line in refused.splitlines() if "is no validator" in line)
        assert "0 of 1 validators signed the header" in key
        monkeypatch.delenv("FC_VALIDATORS")
        shown = prove()
    assert shown.count("is the header's shard_root") == 2
    assert shown.count("FC_VALIDATORS is not set") == 2


def test_a_row_that_is_lost_is_missed_once_digests_are_made_anew(prove: Prove, recorded: Workbench) -> None:
    LiveSet(recorded.tables.url).refresh()
    with recorded.tables.engine.begin() as connection:
        lost = connection.execute(
            sa.text(
                "UPDATE casts SET deleted_at = now() "
                "WHERE hash = (SELECT min(hash) FROM casts WHERE deleted_at IS NULL) RETURNING hash"
            )
        ).scalar_one()
    try:
        assert json.loads(prove("--json"))["proved"] is True  # of what was changed by hand nobody has noted anything
        found = json.loads(prove("--anew", "--json", code=1))
        assert found["digests_made"] > 50
        assert sum(one["leaves"] for one in found["shards"]) == sum(LEAVES.values()) - 1
        assert sorted(one["counts"]["proved"] for one in found["shards"]) == [False, True]
    finally:
        with recorded.tables.engine.begin() as connection:
            connection.execute(sa.text("UPDATE casts SET deleted_at = NULL WHERE hash = :lost"), {"lost": lost})
    assert "since their digests were made: fc-pipeline prove --anew" in prove(code=1)
    shown = prove("--anew")
    assert "of 3,311 leaves" in shown
    assert "changed by hand" not in shown


def test_all_messages_of_a_user_and_a_sample(prove: Prove) -> None:
    of_user = json.loads(prove("--fid", "1001", "--json"))
    assert of_user["checked"] == of_user["proved"] > 10
    everything = json.loads(prove("--messages", "100000", "--json"))
    whys = Counter(one["why"] for one in everything["unproved"])
    of_the_removed_key = whys.pop(
        "the signer is not known here, and hubs do not tell of it: a removed gasless key leaves no trace"
    )
    assert of_the_removed_key == 1, "a KEY_REMOVE was recorded, and a message that its key had signed"
    assert {why.split(",")[0] for why in whys} == {"U+0000 was taken out of a text"}
    assert everything["proved"] > 2_000
    of_all = json.loads(prove("--messages", "200", "--json"))
    verdicts = [verdict for table in of_all["tables"].values() for verdict in table]
    assert 50 < of_all["proved"] <= of_all["checked"] <= 200
    assert {verdict.split(",")[0] for verdict in verdicts} <= {"proved", "U+0000 was taken out of a text"}
    assert "messages proved by hash, signature and signer" in prove("--messages", "200")


def test_a_changed_row_is_named(prove: Prove, recorded: Workbench) -> None:
    change = sa.text(
        "UPDATE casts SET text = text || '!' WHERE hash = (SELECT min(hash) FROM casts WHERE deleted_at IS NULL) "
        "RETURNING encode(hash, 'hex') AS hash, fid"
    )
    undo = sa.text("UPDATE casts SET text = left(text, -1) WHERE encode(hash, 'hex') = :hash")
    with recorded.tables.engine.begin() as connection:
        found = connection.execute(change).one()
    try:
        shown = json.loads(prove("--fid", str(found.fid), "--json", code=1))
        assert [one["hash"] for one in shown["unproved"] if one["why"].startswith("no known encoding")] == [found.hash]
    finally:
        with recorded.tables.engine.begin() as connection:
            connection.execute(undo, {"hash": found.hash})


def test_what_is_asked_wrongly_is_said(prove: Prove) -> None:
    assert "leave --anew out" in str(CliRunner().invoke(app, ["prove", "--fid", "1", "--anew"]).exception)
    assert "there is no shard 3" in str(CliRunner().invoke(app, ["prove", "--shard", "3"]).exception)
    assert "one of --fid and --messages" in str(
        CliRunner().invoke(app, ["prove", "--fid", "1", "--messages", "1"]).exception
    )
