"""Every paging trap, of the feed and of the by-FID lists."""

import json
from pathlib import Path

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import HubError
from fc_pipeline_tests.faults.paging_traps import FEED_TRAPS, LIST_TRAPS
from fc_pipeline_tests.faults.results import each_with_every_seed, every_seed
from fc_pipeline_tests.faults.stage import stage
from fc_pipeline_tests.support.networks import generated_network
from fc_pipeline_tests.support.postgres import Database

LISTS = (
    "/v1/fids",
    "/v1/castsByFid",
    "/v1/reactionsByFid",
    "/v1/linksByFid",
    "/v1/userDataByFid",
    "/v1/verificationsByFid",
)


@pytest.mark.slow
@each_with_every_seed(
    "trap",
    FEED_TRAPS,
    fast=("pages of any length", "shard_index ignored"),
    slow=("stop_id ignored", "reverse ignored", "events twice"),
)
@pytest.mark.usefixtures("in_haste")
def test_traps_of_the_feed(database: Database, tmp_path: Path, trap: str, seed: int) -> None:
    lines = generated_network(seed)
    with stage(f"feed: {trap}", seed, lines, database, tmp_path) as on:
        FEED_TRAPS[trap].lay(on.proxy, lambda path: path == "/v1/events")
        refusal = FEED_TRAPS[trap].refusal
        if refusal is None:
            on.catch_up()
            on.end()
            return
        with pytest.raises(HubError, match=refusal):
            on.bench.run("refused", on.bench.missing_span())
        # What came before the hub gave itself away is right.
        read = [line for line in lines if on.is_covered(json.loads(line))]
        on.end(lines=read, covered=False, ended=f"refused: {refusal}")


@each_with_every_seed(
    "trap", LIST_TRAPS, fast=("pages of any length",), slow=("the page token ignored", "tokens without an end")
)
@pytest.mark.usefixtures("in_haste")
def test_traps_of_the_lists_by_fid(database: Database, tmp_path: Path, trap: str, seed: int) -> None:
    lines = generated_network(seed, events=1_200, fids=25)
    with stage(f"by FID: {trap}", seed, lines, database, tmp_path) as on:
        LIST_TRAPS[trap].lay(on.proxy, LISTS.__contains__)
        refusal = LIST_TRAPS[trap].refusal
        backfill = Backfill(on.bench.replica, "backfill", BackfillScope())
        if refusal is None:
            backfill.execute()
            on.end(by_snapshots=True, covered=False)
        else:
            with pytest.raises(HubError, match=refusal) as raised:
                backfill.execute()
            assert "127.0.0.1" in str(raised.value)
            on.end(lines=[], by_snapshots=True, covered=False, ended=f"refused: {refusal}")


@every_seed
@pytest.mark.usefixtures("in_haste")
def test_snapshots_with_a_fifth_of_all_answers_bad(database: Database, tmp_path: Path, seed: int) -> None:
    """Asked again until every user is read: nothing that the hub has is taken for gone meanwhile."""
    lines = generated_network(seed, events=1_200, fids=25)
    with stage("by FID: 20% of answers bad", seed, lines, database, tmp_path) as on:
        on.catch_up()
        on.proxy.bad_share = 0.2
        failed = 0
        for number in range(40):
            try:
                done = Backfill(on.bench.replica, f"backfill {number}", BackfillScope()).execute()
            except HubError:
                failed += 1
            else:
                assert dict(done.reconciled.drift) == {}
                break
        on.proxy.bad_share = 0.0
        assert on.bench.rows("SELECT * FROM pipeline.drift") == []
        on.end(by_snapshots=True, ended=f"complete, {failed} runs failed")
