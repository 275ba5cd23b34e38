"""Archives as nodes publish them, unpacked and loaded; what was unpacked is gone afterwards, or gone on with."""

from pathlib import Path

import pytest

from fc_pipeline.bootstrap.archives import unpack_all
from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.bulk_load.progress import Stopped
from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.node_db.archive_source import ArchiveSource
from fc_pipeline_tests.support.node_archives import published
from fc_pipeline_tests.support.node_files import unpacked_node
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench


def test_published_archives_are_loaded(database: Database, lake: Path, shared_fixtures: Path, tmp_path: Path) -> None:
    node = unpacked_node(shared_fixtures, tmp_path / "node")
    for shard in (0, 1, 2):
        files = {path.name: path.read_bytes() for path in (node / f"shard-{shard}").iterdir()}
        published(tmp_path / "published", files, shard=shard, size=70_000)
    source = ArchiveSource(str(tmp_path / "published"))
    stops = iter((False, True))
    with pytest.raises(Stopped):
        unpack_all(source, tmp_path / "data", lambda: next(stops))
    folder = unpack_all(source, tmp_path / "data", lambda: False)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["shard-1", "shard-2"]
    with workbench(database, lake, "http://127.0.0.1:9") as bench:
        outcome = Bootstrap(bench.replica, folder, "load", 1).execute()
    assert outcome.leaves == (1779, 1532)


def test_a_folder_without_archives_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NodeDatabaseError, match="has no archive of shard 1 of mainnet") as refusal:
        unpack_all(ArchiveSource(str(tmp_path)), tmp_path / "data", lambda: False)
    assert "snapshot_download_url" in str(refusal.value)
