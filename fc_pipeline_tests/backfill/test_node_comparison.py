"""The comparison that `make test-live` makes with any node, with the recorded one: only damage differs."""

from pathlib import Path

import httpx
import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline_tests.support.node_comparison import NodeAnswers, differences
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.recorded_node import recorded_answers, served_node
from fc_pipeline_tests.support.workbench import workbench

DAMAGE = {
    "casts": "DELETE FROM casts WHERE hash IN (SELECT hash FROM casts WHERE deleted_at IS NULL LIMIT 1)",
    "reactions": "UPDATE reactions SET deleted_at = now() WHERE type = 'like'",
    "links": "UPDATE links SET hash = decode(repeat('00', 20), 'hex') WHERE deleted_at IS NULL AND type = 'follow'",
    "verifications": "DELETE FROM verifications",
    "user_data": "UPDATE user_data SET deleted_at = now() WHERE type = 'bio'",
    "embeds": "UPDATE embeds SET position = position + 7 WHERE hash IN (SELECT hash FROM embeds LIMIT 1)",
    "signers": "UPDATE signers SET removed_at = now() WHERE kind = 'gasless'",
    "storage": "DELETE FROM storage_rents WHERE fid IN (SELECT fid FROM storage_rents LIMIT 1)",
    "on_chain_events": "UPDATE on_chain_events SET log_index = 99 WHERE type = 'tier_purchase'",
    "username_proofs": "DELETE FROM username_proofs",
    "channels": "UPDATE channels SET fid = 1000",
    "channel_settings": "UPDATE channels SET rules = 'none'",
    "channel_pins": "UPDATE channel_pins SET fid = 5 WHERE cast_hash IS NOT NULL",
    "channel_moderations": "UPDATE channel_moderations SET action = 'unhide' WHERE action = 'hide'",
    "channel_members": "UPDATE channel_members SET state = 'none'",
    "channel_follows": "DELETE FROM channel_follows",
}

SAID_TWICE = {"channel owners", "members of channels"}
"""Asked for by channel, too."""


@pytest.mark.slow
def test_the_tables_are_what_the_node_answers_and_each_damage_is_a_difference(
    database: Database, lake: Path, shared_fixtures: Path
) -> None:
    fids = sorted(recorded_answers(shared_fixtures, "castsByFid"))
    with (
        served_node(shared_fixtures) as url,
        httpx.Client(base_url=url, timeout=60) as http,
        workbench(database, lake, url) as bench,
    ):
        node = NodeAnswers(http)
        bench.run()
        Backfill(bench.replica, "backfill", BackfillScope()).execute()
        assert differences(bench, node, fids) == []
        assert node.absent == set()
        with bench.replica.engine.begin() as connection:
            for statement in DAMAGE.values():
                assert connection.exec_driver_sql(statement).rowcount > 0, statement
        found = differences(bench, node, fids)
        assert {line.split(":")[0] for line in found} == DAMAGE.keys() | SAID_TWICE
