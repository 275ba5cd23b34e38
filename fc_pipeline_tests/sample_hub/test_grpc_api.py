"""The sample hub's trie, headers and counts agree with its log, and with one another."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from fc_pipeline.hub.client import HubKeyRefused
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.proof.descent import descend
from fc_pipeline.proof.headers import consensus_of
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, MESSAGE_TYPES, fid_prefix, leaf_type_name, message_leaf
from fc_pipeline.proof.trie import FID_DEPTH, VIRTUAL_SHARD_DEPTH, Nodes
from fc_pipeline.sample_hub.app import GrpcAt
from fc_pipeline.sample_hub.chain import Chain
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.homes import shard_of
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.leaf_state import LeafModel
from fc_pipeline.sample_hub.live import Reveal
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving_hub

OF_LISTS = {
    "CAST_ADD",
    "CAST_REMOVE",
    "REACTION_ADD",
    "REACTION_REMOVE",
    "LINK_ADD",
    "LINK_REMOVE",
    "LINK_COMPACT_STATE",
    "VERIFICATION_ADD_ETH_ADDRESS",
    "VERIFICATION_REMOVE",
    "USER_DATA_ADD",
}
LINES = list(generate(7, fids=60, events=2_000, start_unix=1_790_000_000, events_per_second=50.0))


@contextmanager
def served(hub: SampleHub) -> Iterator[tuple[str, str]]:
    """Its addresses for HTTP and for gRPC."""
    ports: list[int] = []
    started = threading.Event()
    grpc_at = GrpcAt("127.0.0.1", 0, lambda port: (ports.append(port), started.set())[0])
    with serving_hub(hub, grpc_at) as url:
        assert started.wait(10)
        yield url, f"http://127.0.0.1:{ports[0]}"


def asked(address: str, ask: Callable[[GrpcNode], Awaitable[None]], **headers: str) -> None:
    async def run() -> None:
        async with GrpcNode(HubEndpoint(address, headers)) as node:
            await ask(node)

    asyncio.run(run())


def leaves_of(log: EventLog, shard: int) -> set[bytes]:
    model = LeafModel()
    for raw in log.shards[shard].raws[: log.shards[shard].visible_end]:
        model.fold(json.loads(raw))
    return model.keys


class Ours:
    """The trie of some leaves, as a descent reads it."""

    def __init__(self, keys: set[bytes]) -> None:
        self.keys = keys
        self.all_fids = Nodes.of_leaves(list(keys)).at(FID_DEPTH)

    async def shards(self) -> Nodes:
        return self.all_fids.at(VIRTUAL_SHARD_DEPTH)

    async def fids(self, virtual_shard: int) -> Nodes:
        return self.all_fids.below(bytes([virtual_shard >> 4, virtual_shard & 15]))

    async def leaves(self, fid_prefix: bytes) -> Nodes:
        return Nodes.of_leaves([key for key in self.keys if key.startswith(fid_prefix)])


def test_trie_headers_and_counts_are_those_of_the_log() -> None:
    hub = SampleHub(log_from_lines(LINES), chain=Chain())

    async def ask(node: GrpcNode) -> None:
        counts = {shard.shardId: shard for shard in (await node.info()).shardInfos}
        for shard in (1, 2):
            keys = leaves_of(hub.log, shard)
            root = Nodes.of_leaves(list(keys)).root
            assert len(keys) > 100
            told = await node.trie_node(shard, b"")
            assert told is not None
            assert told.node == root
            block = await node.block(shard, counts[shard].maxHeight)
            assert block is not None
            assert block.header.shard_root == root.hash
            assert consensus_of(block, [Chain.public_key]).is_proved
            before = await node.block(shard, counts[shard].maxHeight - 1)
            assert before is not None
            assert block.header.parent_hash == before.hash
            assert counts[shard].numMessages == root.leaf_count

    with served(hub) as (url, grpc_url):
        asked(grpc_url, ask)
        with urllib.request.urlopen(f"{url}/v1/info") as answer:  # noqa: S310
            infos = {info["shardId"]: info["numMessages"] for info in json.load(answer)["shardInfos"]}
        assert {shard: infos[shard] for shard in (1, 2)} == {s: len(leaves_of(hub.log, s)) for s in (1, 2)}


def test_a_damage_is_found_by_descent() -> None:
    hub = SampleHub(log_from_lines(LINES), chain=Chain())
    keys = leaves_of(hub.log, 1)
    lost = sorted(keys)[len(keys) // 2]

    async def ask(node: GrpcNode) -> None:
        async def told(prefix: bytes):
            return await node.trie_node(1, prefix)

        found = await descend(Ours(keys - {lost}), told)
        assert [one.prefix for one in found.fids] == [lost[:5]]
        assert [one.prefix for one in found.types] == [lost[:6]]
        assert (await descend(Ours(keys), told)).requests == 1

    with served(hub) as (_, grpc_url):
        asked(grpc_url, ask)


def test_headers_and_trie_follow_blocks_as_they_appear() -> None:
    log = log_from_lines(LINES)
    now = [100.0]
    hub = SampleHub(log, growth=Reveal(log, events_per_second=100, start_unix=100), clock=lambda: now[0], chain=Chain())
    seen = set()
    for _ in range(12):
        now[0] += 1
        hub.advance()
        chain = hub.chain
        assert chain is not None
        for shard in (1, 2):
            trie = chain.trie(shard)
            assert trie is not None
            assert trie.root == Nodes.of_leaves(list(leaves_of(log, shard))).root
            seen.add(trie.root.hash)
    assert len(seen) > 10


def test_a_wrong_key_is_refused() -> None:
    hub = SampleHub(log_from_lines(LINES[:200]), chain=Chain(), faults=Faults(api_key="right-key"))

    async def ask(node: GrpcNode) -> None:
        await node.info()

    with served(hub) as (_, grpc_url):
        asked(grpc_url, ask, **{"x-api-key": "right-key"})
        with pytest.raises(HubKeyRefused):
            asked(grpc_url, ask, **{"x-api-key": "wrong-key"})


def test_messages_by_fid_are_the_leaves_of_the_home_shard() -> None:
    hub = SampleHub(log_from_lines(LINES), chain=Chain())
    fids = range(1, 200)
    leaves = {shard: leaves_of(hub.log, shard) for shard in (1, 2)}
    home_keys = {
        key
        for fid in fids
        for key in leaves[shard_of(fid, 2)]
        if key.startswith(fid_prefix(fid)) and leaf_type_name(key[FID_PREFIX_BYTES]) in OF_LISTS
    }

    async def ask(node: GrpcNode) -> None:
        listed = {key for fid in fids async for raw in node.messages_by_fid(fid) for key in listed_keys(fid, raw)}
        lends = {key for key in listed if leaf_type_name(key[FID_PREFIX_BYTES]) == "LEND_STORAGE"}
        assert listed - lends == home_keys
        assert {leaf_type_name(key[FID_PREFIX_BYTES]) for key in listed} == {*OF_LISTS, "LEND_STORAGE"}
        assert lends < leaves[1]
        kinds = [json.loads(raw)["data"]["type"] async for raw in node.messages_by_fid(7, ("links",), {"LINK_REMOVE"})]
        assert set(kinds) <= {"MESSAGE_TYPE_LINK_REMOVE"}

    with served(hub) as (_, grpc_url):
        asked(grpc_url, ask)


def listed_keys(fid: int, raw: bytes) -> list[bytes]:
    message = json.loads(raw)
    kind = MESSAGE_TYPES[message["data"]["type"].removeprefix("MESSAGE_TYPE_")]
    return [fid_prefix(fid) + message_leaf(kind, bytes.fromhex(message["hash"][2:]))]
