"""Stored snapshots of all users, loaded in bulk: the tables are those that folding the same snapshots makes."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.backfill.bulk_fold import BulkFold
from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.bulk_load.progress import Stopped
from fc_pipeline.errors import ConfigError, LakeError, LoadUnderWay
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.tables.registry import ALL_TABLES
from fc_pipeline_tests.support.networks import generated_network
from fc_pipeline_tests.support.node_writer import NodeWriter
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

STAMPS = {"updated_at", "changed_at", "change_id"}


@pytest.fixture(scope="module")
def log() -> EventLog:
    return log_from_lines(generated_network(5))


@pytest.fixture
def fetched(database: Database, lake: Path, log: EventLog) -> Iterator[Workbench]:
    """Every user's snapshot in the lake, nothing in the tables."""
    with serving(log) as url, workbench(database, lake, url) as bench:
        assert Backfill(bench.replica, "fetch", BackfillScope(), fold=False).execute().unread == {}
        yield bench


def dump(bench: Workbench) -> dict[str, list[str]]:
    """Every column of every row but its stamps; and what the ledger of snapshots says."""
    found = {
        name: f"SELECT ROW({', '.join(c for c in table.names if c not in STAMPS)})::text FROM {table.qualified}"
        for name, table in ALL_TABLES.items()
    }
    found["other_leaves"] = "SELECT ROW(shard, fid, leaf, version, deleted_at)::text FROM pipeline.other_leaves"
    found["counts"] = "SELECT t::text FROM cast_counts AS t UNION ALL SELECT t::text FROM user_counts AS t"
    found["snapshots"] = (
        "SELECT ROW(fid, folded_version, folded_file = file, folded_until_id, leaves_versions)::text "
        "FROM pipeline.snapshots"
    )
    found["indexes"] = "SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'pipeline')"
    found["triggers"] = "SELECT ROW(tgname, tgrelid::regclass, tgenabled)::text FROM pg_trigger WHERE NOT tgisinternal"
    return {name: sorted(row[0] for row in bench.rows(query)) for name, query in found.items()}


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_is_as_folding_them(
    fetched: Workbench, other_database: Database, lake: Path, tmp_path: Path, log: EventLog, workers: int
) -> None:
    other = tmp_path / "other" / "lake"
    shutil.copytree(lake, other)
    with serving(log) as url, workbench(other_database, other, url) as merged:
        # The same files under the same names, as this database's ledger has them.
        copied = [tuple(row) for row in fetched.rows("SELECT * FROM pipeline.snapshots")]
        assert copied
        with fetched.replica.engine.connect() as source, merged.replica.engine.begin() as target:
            for row in source.exec_driver_sql("SELECT * FROM pipeline.snapshots").mappings():
                names = ", ".join(row)
                marks = ", ".join(f"%({name})s" for name in row)
                target.exec_driver_sql(f"INSERT INTO pipeline.snapshots ({names}) VALUES ({marks})", dict(row))
        Backfill(merged.replica, "fold", BackfillScope(), fetch=False).execute()
        BulkFold(fetched.replica, "bulk", workers).execute()
        expected, found = dump(merged), dump(fetched)
    differing = {name: set(rows) ^ set(found[name]) for name, rows in expected.items() if rows != found[name]}
    assert differing == {}
    assert fetched.quarantine() == merged.quarantine()


def test_stopped_anywhere_it_is_gone_on_with(fetched: Workbench) -> None:
    for stops_after in (1, 3, 5, 20, 20):
        looks = iter([False] * stops_after + [True] * 1000)
        with pytest.raises(Stopped):
            BulkFold(fetched.replica, "bulk", 1, lambda looks=looks: next(looks)).execute()
        with pytest.raises(LoadUnderWay, match="the snapshots in the lake"):
            Backfill(fetched.replica, "fold", BackfillScope(), fetch=False).execute()
    BulkFold(fetched.replica, "bulk", 1).execute()
    users = fetched.rows("SELECT count(*) FROM user_profiles")
    assert users[0][0] > 30
    assert fetched.rows("SELECT count(*) FROM pipeline.snapshots WHERE folded_at IS NULL") == [(0,)]
    fetched.run()  # the feed is folded from now on
    assert fetched.missing_hours() == []


def test_files_do_not_go_on_with_it(fetched: Workbench, tmp_path: Path) -> None:
    looks = iter([False] * 5 + [True] * 1000)
    with pytest.raises(Stopped):
        BulkFold(fetched.replica, "bulk", 1, lambda: next(looks)).execute()
    before = fetched.rows("SELECT fid, version FROM pipeline.snapshots ORDER BY fid")
    writer = NodeWriter(tmp_path / "node" / "shard-1", 1)
    writer.registered(7)
    writer.finish()
    with pytest.raises(ConfigError, match="being loaded from the snapshots in the lake"):
        Bootstrap(fetched.replica, tmp_path / "node", "files", 1).execute()
    assert before == fetched.rows("SELECT fid, version FROM pipeline.snapshots ORDER BY fid")
    BulkFold(fetched.replica, "bulk", 1).execute()


def test_what_it_refuses(database: Database, lake: Path, log: EventLog) -> None:
    with serving(log) as url, workbench(database, lake, url) as bench:
        with pytest.raises(LakeError, match="no snapshots of any user") as refusal:
            BulkFold(bench.replica, "bulk", 1).execute()
        assert "fid_snapshots" in str(refusal.value)
        bench.run()
        with pytest.raises(ConfigError, match=r"not empty: pipeline\.coverage has rows"):
            BulkFold(bench.replica, "bulk", 1).execute()
