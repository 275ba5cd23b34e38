"""A real node's gasless keys, read because their users' messages in its feed are signed by keys that no row has."""

from pathlib import Path

from fc_pipeline.repair.keys import is_anything_due, read_due_keys
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.recorded_node import recorded_answers, served_node
from fc_pipeline_tests.support.workbench import workbench


def test_each_is_read_at_its_first_message(database: Database, lake: Path, shared_fixtures: Path) -> None:
    """Six have signed a message; five of them are listed, and the sixth, of FID 1010, gave itself up."""
    listed = {
        (fid, one["key"], one["requestFid"], tuple(one["scopes"]), one["ttl"], one["lastUsedAt"])
        for fid, answer in recorded_answers(shared_fixtures, "signersByFid").items()
        for one in answer["signers"]
        if one["source"] == "SIGNER_SOURCE_OFFCHAIN"
    }
    with served_node(shared_fixtures) as url, workbench(database, lake, url) as bench:
        bench.run()
        assert is_anything_due(bench.replica)
        done = read_due_keys(bench.replica, "keys")
        assert (done.fids, done.rows, done.unread) == (6, 5, {})
        rows = bench.rows(
            "SELECT fid, '0x' || encode(key, 'hex'), app_fid, scopes, ttl_seconds, "
            "extract(epoch FROM last_used_at)::bigint FROM signers WHERE kind = 'gasless'"
        )
        assert {(*row[:3], tuple(row[3]), *row[4:]) for row in rows} == listed
        waiting = "SELECT count(*) FROM casts WHERE signer IN (SELECT key FROM gasless_keys) AND app_fid IS NULL"
        assert bench.rows(waiting) == [(0,)]
        assert bench.rows("SELECT fid, attempts FROM pipeline.unexplained_keys") == [(1010, 1)]
        assert not is_anything_due(bench.replica)
