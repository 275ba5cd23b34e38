"""Every paging trap, of the feed, of the by-FID lists, and of the endpoints that ask all shards."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.errors import HubError
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.ingest.backfill import Backfill
from fc_pipeline.ingest.backfill_scope import BackfillScope
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.conftest import Database
from fc_pipeline_tests.faults.fault_proxy import FaultProxy
from fc_pipeline_tests.faults.networks import log_of, network
from fc_pipeline_tests.faults.oracle import Oracle
from fc_pipeline_tests.faults.paging_traps import FEED_TRAPS, LIST_TRAPS
from fc_pipeline_tests.faults.results import each_with_every_seed, every_seed, with_a_fast_one
from fc_pipeline_tests.faults.stage import stage

ALL_SHARDS_PAGE = 2
LISTS = (
    "/v1/fids",
    "/v1/castsByFid",
    "/v1/reactionsByFid",
    "/v1/linksByFid",
    "/v1/userDataByFid",
    "/v1/verificationsByFid",
)


@each_with_every_seed(
    "trap",
    FEED_TRAPS,
    fast=("pages of any length", "stop_id ignored", "shard_index ignored", "reverse ignored", "events twice"),
)
@pytest.mark.usefixtures("in_haste")
def test_traps_of_the_feed(database: Database, tmp_path: Path, trap: str, seed: int) -> None:
    lines = network(seed)
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
    "trap", LIST_TRAPS, fast=("pages of any length", "the page token ignored", "tokens without an end")
)
@pytest.mark.usefixtures("in_haste")
def test_traps_of_the_lists_by_fid(database: Database, tmp_path: Path, trap: str, seed: int) -> None:
    lines = network(seed, events=1_200, fids=25)
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
    lines = network(seed, events=1_200, fids=25)
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


Ask = Callable[[HubReads], AsyncIterator[list[bytes]]]


@with_a_fast_one
def test_lists_of_all_shards_are_walked_once(seed: int) -> None:
    """Their tokens never end, and a shard that is done starts over beside the others (hub-api 6.1)."""
    lines = network(seed)
    oracle = Oracle(lines)
    with (
        serving(log_of(lines)) as url,
        FaultProxy(url, seed, bad_share=0.1, kinds=("closed", "500", "truncated JSON")) as proxy,
    ):
        for name, (ask, expected) in questions(oracle).items():
            found = asyncio.run(walked(proxy.url, ask))
            assert Counter(found) == Counter(expected), (seed, name)
            assert len(expected) > ALL_SHARDS_PAGE, name


async def walked(url: str, ask: Ask) -> list[str]:
    async with HubClient(HubEndpoint(url), retries=8, sleep=lambda seconds: asyncio.sleep(0)) as client:
        return [json.loads(raw)["hash"][2:] async for page in ask(HubReads(client)) for raw in page]


def questions(oracle: Oracle) -> dict[str, tuple[Ask, list[str]]]:
    """For each endpoint the question with the most answers, and the hashes of the messages that it must give."""
    casts, reactions, links = (list(oracle.tables[name].items()) for name in ("casts", "reactions", "links"))
    parent = most((row["parent_fid"], row["parent_hash"]) for _, row in casts if row["parent_hash"])
    mentioned = most(fid for _, row in casts for fid in row["mentions"])
    followed = most(key[2] for key, _ in links if key[1] == "follow")
    liked = most((row["target_fid"], row["target_hash"]) for _, row in reactions if row["target_hash"])
    return {
        "castsByParent": (
            lambda hub: hub.casts_by_parent_cast(parent[0], f"0x{parent[1]}", ALL_SHARDS_PAGE),
            [row["hash"] for _, row in casts if (row["parent_fid"], row["parent_hash"]) == parent],
        ),
        "castsByMention": (
            lambda hub: hub.casts_by_mention(mentioned, ALL_SHARDS_PAGE),
            [row["hash"] for _, row in casts if mentioned in row["mentions"]],
        ),
        "linksByTargetFid": (
            lambda hub: hub.links_by_target_fid(followed, page_size=ALL_SHARDS_PAGE),
            [row["hash"] for key, row in links if key[1:] == ("follow", followed)],
        ),
        "reactionsByCast": (
            lambda hub: hub.reactions_by_cast(liked[0], f"0x{liked[1]}", page_size=ALL_SHARDS_PAGE),
            [row["hash"] for _, row in reactions if (row["target_fid"], row["target_hash"]) == liked],
        ),
    }


def most(values: Any) -> Any:
    return Counter(values).most_common(1)[0][0]
