"""`fc-pipeline prove` beside the sample hub, which speaks gRPC and has a validator: all that can be proved is."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from fc_pipeline.cli.main import app
from fc_pipeline.repair.keys import is_anything_due, read_due_keys
from fc_pipeline_tests.support.live_sets import LiveSet
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.sample_hub_process import sample_hub_process
from fc_pipeline_tests.support.workbench import workbench

pytestmark = pytest.mark.slow


def proved(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["prove", *arguments])
    return done.exit_code, done.stdout


def verified(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["verify", *arguments])
    return done.exit_code, done.stdout


def test_root_and_consensus_and_who_differs(database: Database, lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sample_hub_process() as variables, workbench(database, lake, variables["FC_HUB_URLS"]) as bench:
        bench.run()
        settings = bench.replica.settings
        monkeypatch.setenv("FC_POSTGRES_URL", settings.libpq_url())
        monkeypatch.setenv("FC_LAKE_URI", settings.lake_uri)
        monkeypatch.setenv("FC_DATA_DIR", str(settings.data_dir))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        code, shown = proved()
        assert code == 0, shown
        assert shown.count("is the header's shard_root") == 2
        assert shown.count("1 of 1 validators signed the header") == 2
        assert "not known" not in shown, "the root that is proved has all"

        code, shown = proved("--messages", "10000")
        assert code == 1, "gasless keys, of which no feed tells, were not read yet"
        assert "read these users' keys: fc-pipeline backfill --fids 3," in shown
        assert is_anything_due(bench.replica)
        read_due_keys(bench.replica, "keys")
        for of_messages in (("--messages", "10000"), ("--fid", "3")):
            code, figures = proved(*of_messages, "--json")
            assert code == 0, figures
            assert json.loads(figures)["proved"] > 50
            assert json.loads(figures)["keys_to_read"] == []

        code, figures = proved("--fid", "3", "--json")
        assert [one["proved"] for one in json.loads(figures)["leaves"]] == [True, True]
        code, figures = verified("--sample", "20", "--json")
        assert code == 0
        equal = json.loads(figures)
        assert (equal["equal_by_hash"], equal["records"], equal["fids"]) == (20, 0, 20)
        code, figures = verified("--fids", "3", "--read", "--json")
        assert code == 0
        assert json.loads(figures)["equal_by_hash"] == 0
        assert json.loads(figures)["records"] > 0

        with bench.tables.engine.begin() as connection:
            fid = connection.execute(
                sa.text(
                    "UPDATE casts SET deleted_at = now() "
                    "WHERE hash = (SELECT min(hash) FROM casts WHERE deleted_at IS NULL) RETURNING fid"
                )
            ).scalar_one()
        code, shown = proved("--fid", str(fid))
        assert code == 1
        assert f"FID {fid} CAST_ADD" in shown
        code, figures = verified("--fids", f"{fid},{fid + 1}", "--json")
        found = json.loads(figures)
        assert (code, found["equal_by_hash"], found["drift"]) == (1, 1, {"casts": 1}), "the one that differs is read"
        LiveSet(bench.tables.url).refresh(all_fids=True)
        code, shown = proved()
        assert code == 1
        assert f"differs: FID {fid} CAST_ADD" in shown
        assert f"fc-pipeline backfill --fids {fid}" in shown
        code, figures = proved("--json")
        assert code == 1
        (damaged,) = [one for one in json.loads(figures)["shards"] if not one["proved"]]
        assert damaged["consensus"]["proved"]
        assert 0 < damaged["requests"] <= 60
