"""The events of a real Snapchain 0.14.2 node, served by the sample hub: it answers what the node answered."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from fc_pipeline.hub.decode import split_page
from fc_pipeline.sample_hub.gasless_keys import GaslessKey
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.live import Reveal
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving_hub

RECORDED_UNIX = 1_795_877_000
"""About when the node was asked: no rent that it had was over, none became so meanwhile."""

Answer = tuple[int, str | None, str]
"""Status, content type and body."""


def recorded(fixtures: Path, name: str) -> list[dict[str, Any]]:
    with gzip.open(fixtures / "snapchain" / f"{name}.ndjson.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def node_log(shared_fixtures: Path) -> EventLog:
    """The node's whole feed, byte for byte."""
    pages = [page for shard in (1, 2) for page in recorded(shared_fixtures, f"events_shard{shard}")]
    return log_from_lines(raw for page in pages for raw in split_page(page["body"].encode()))


def put_gasless_keys(hub: SampleHub, fid: int, told: dict[str, Any]) -> None:
    """What a node's answer says of gasless keys, which leave no trace in a feed (protocol-tables 1.2)."""
    hub.state.keys.put(fid, GaslessKey("gone", 0, 0, 0, (), 0, told["currentUserNonce"]))
    hub.state.keys.remove(fid, "gone")
    for one in told["signers"]:
        if one["source"] == "SIGNER_SOURCE_OFFCHAIN":
            times = one["addedAt"], one["lastUsedAt"], one["ttl"]
            hub.state.keys.put(
                fid, GaslessKey(one["key"], *times, tuple(one["scopes"]), one["requestFid"], one["nonce"])
            )


@pytest.fixture(scope="module")
def sample_hub(node_log: EventLog, shared_fixtures: Path) -> Iterator[httpx.Client]:
    hub = SampleHub(node_log, clock=lambda: RECORDED_UNIX)
    for one in recorded(shared_fixtures, "by_fid"):
        if one["path"].startswith("/v1/signersByFid"):
            put_gasless_keys(hub, int(httpx.URL(one["path"]).params["fid"]), json.loads(one["body"]))
    with serving_hub(hub) as base_url, httpx.Client(base_url=base_url) as client:
        yield client


def answer(hub: httpx.Client, path: str) -> Answer:
    said = hub.get(quote(path, safe="/?&=:%"))
    return said.status_code, said.headers.get("content-type"), said.text


EXCEPTIONS = {
    "/v1/info": "counts and sizes of the node's own database, which no feed tells (hub-api T21), and its time",
    "/v1/events?shard_index=1&reverse=true&page_size=2": "the node went on: empty blocks after the recorded feed",
}
"""What cannot be equal, by path or by the whole request, and why."""


def is_excepted(path: str) -> bool:
    return path in EXCEPTIONS or path.split("?")[0] in EXCEPTIONS


@pytest.mark.parametrize(
    ("name", "fewest"),
    [("events_shard1", 5), ("events_shard2", 4), ("by_fid", 1220), ("channels", 282), ("names", 81), ("fids", 4),
     ("odd", 45)],
)  # fmt: skip
def test_it_answers_byte_for_byte_what_the_node_answered(
    name: str, fewest: int, sample_hub: httpx.Client, shared_fixtures: Path
) -> None:
    """Status, content type and body of every recorded request."""
    asked = [one for one in recorded(shared_fixtures, name) if not is_excepted(one["path"])]
    assert len(asked) >= fewest
    wrong = [one for one in asked if answer(sample_hub, one["path"]) != (one["status"], one["type"], one["body"])]
    assert [one["path"] for one in wrong] == []


def test_what_a_hub_says_of_itself_has_the_nodes_shape(sample_hub: httpx.Client, shared_fixtures: Path) -> None:
    (start,) = recorded(shared_fixtures, "start")
    node, ours = json.loads(start["body"]), sample_hub.get("/v1/info").json()
    assert list(ours) == list(node)
    for one in (*node["shardInfos"], *ours["shardInfos"]):
        assert list(one) == list(node["shardInfos"][0])
    # Data shards come in an order that is the hub's own.
    assert [one["shardId"] for one in ours["shardInfos"]] == [one["shardId"] for one in node["shardInfos"]]
    registered = [one["numFidRegistrations"] for one in node["shardInfos"]]
    assert [one["numFidRegistrations"] for one in ours["shardInfos"]] == registered


@pytest.mark.parametrize("first", [1, 2])
def test_the_order_in_which_shards_are_read_does_not_matter(
    first: int, node_log: EventLog, shared_fixtures: Path
) -> None:
    """One shard is there whole before the other has its first event."""
    log = log_from_lines(
        raw
        for shard in sorted(node_log.shards, key=lambda shard: shard != first)
        for raw in node_log.shards[shard].raws
    )
    growth = Reveal(log, events_per_second=1000, start_unix=0)
    hub = SampleHub(log)
    while any(shard.hidden_block() for shard in log.shards.values()):
        growth.advance(log, sum(shard.visible_end for shard in log.shards.values()) / 1000 + 1)
        assert hub.state.unreadable == []
    told = {name: Counter(_channels_told(hub, name, shared_fixtures)) for name in ("channels", "by_fid")}
    assert {name: count[False] for name, count in told.items()} == {"channels": 0, "by_fid": 0}
    assert all(count[True] > 60 for count in told.values())


def _channels_told(hub: SampleHub, name: str, fixtures: Path) -> Iterator[bool]:
    """For each recorded request about channels and verifications, whether the hub says the same."""
    with serving_hub(hub) as base_url, httpx.Client(base_url=base_url) as client:
        for one in recorded(fixtures, name):
            if one["path"].startswith(("/v1/channel", "/v1/isFollowing", "/v1/verifications")):
                yield answer(client, one["path"]) == (one["status"], one["type"], one["body"])
