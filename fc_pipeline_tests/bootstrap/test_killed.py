"""A bootstrap whose processes are killed at every stage, one after another, ends as one that nobody disturbed."""

from pathlib import Path

import pytest

from fc_pipeline.bootstrap.run import Bootstrap
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline_tests.support.bootstrap_process import killed_at
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.loaded_tables import live_rows
from fc_pipeline_tests.support.networks import whole
from fc_pipeline_tests.support.node_of_log import node_of_log
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

STAGES = (
    "names",
    "contracts midway",
    "keys",
    "messages midway",
    "proof",
    "indexes",
    "derived tables",
    "counts",
    "statistics",
)
LEAVES_PER_PART = 150


@pytest.mark.slow
def test_killed_at_every_stage_it_is_resumed(
    database: Database, other_database: Database, lake: Path, tmp_path: Path
) -> None:
    lines = list(generate(11, fids=40, events=2_400, events_per_second=30.0, start_unix=HOUR_UNIX, signed=True))
    heights = {shard: last for shard, _, last in whole(lines)}
    node = tmp_path / "node"
    node_of_log(lines, node, heights)
    for stage in STAGES:
        assert killed_at(stage, database.url, lake, node, LEAVES_PER_PART), stage
    nowhere = "http://127.0.0.1:9"
    with (
        workbench(database, lake, nowhere) as killed,
        workbench(other_database, tmp_path / "other", nowhere) as undisturbed,
    ):
        Bootstrap(killed.replica, node, "load", 2, leaves_per_part=LEAVES_PER_PART).execute()
        Bootstrap(undisturbed.replica, node, "load", 1).execute()
        assert live_rows(killed) == live_rows(undisturbed)
        for query in (
            "SELECT indexdef FROM pg_indexes WHERE schemaname IN ('public', 'pipeline') ORDER BY 1",
            "SELECT shard, fid, leaf, deleted_at FROM pipeline.other_leaves ORDER BY 1, 2, 3",
            "SELECT shard, fid, leaves, hash FROM pipeline.fid_digests ORDER BY 1, 2",
            "SELECT tgname, tgrelid::regclass::text, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2",
        ):
            assert killed.rows(query) == undisturbed.rows(query)
