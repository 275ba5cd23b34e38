"""A node that has the sound live set of a benchmark's replica, and answers over gRPC as the sample hub does.

Its trie's nodes down to FIDs are the replica's digests as they were made, so an audit of the sound replica finds no
difference. Leaves it has of the users who are damaged later: of others nobody asks further than for their node.
"""

import asyncio
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

from fc_pipeline.live_set.state import LiveSetView, ShardState
from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix
from fc_pipeline.proof.trie import Node, Nodes
from fc_pipeline.sample_hub.chain import sealed_block
from fc_pipeline.sample_hub.grpc_api import grpc_api

__all__ = ["DamagedShard", "SoundNode", "SoundTrie", "serving_node"]

_START_SECONDS: Final = 30.0


@dataclass(frozen=True)
class SoundTrie:
    """A shard's trie: its nodes of depth 2 and those of FIDs by virtual shard, and the leaves of some FIDs."""

    shard: int
    height: int
    virtual_shards: Nodes
    fids: Mapping[int, Nodes]
    leaves: dict[bytes, Nodes] = field(default_factory=dict[bytes, Nodes])

    @classmethod
    def of(cls, state: ShardState) -> "SoundTrie":
        return cls(state.shard, state.height, state.virtual_shards, {part: state.fids(part) for part in range(256)})

    @property
    def root(self) -> Node:
        return self.virtual_shards.root

    def keep_leaves(self, view: LiveSetView, fid: int) -> None:
        """Remember an FID's leaves before they are damaged."""
        prefix = fid_prefix(fid)
        keys = [prefix + leaf for leaf in view.leaves_of(self.shard, fid)]
        self.leaves[prefix] = Nodes.of_leaves(keys)

    def told(self, prefix: bytes) -> ToldNode | None:
        path = bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))
        if not prefix:
            nodes = self.virtual_shards
        elif len(prefix) < FID_PREFIX_BYTES:
            nodes = self.fids[prefix[0]]
        elif prefix[:FID_PREFIX_BYTES] in self.leaves:
            nodes = self.leaves[prefix[:FID_PREFIX_BYTES]]
        else:
            node = self.fids[prefix[0]].node(path)
            return None if node is None else ToldNode(node, {})
        node = nodes.node(path)
        return None if node is None else ToldNode(node, nodes.children(path))


@dataclass(frozen=True)
class DamagedShard:
    """Our shard after a damage: the virtual shards of the FIDs concerned are read anew, all others are as they were.

    They all would be the same if they were hashed anew, which takes a second of a core each time.
    """

    sound: SoundTrie
    state: ShardState
    damaged: frozenset[int]

    @property
    def shard(self) -> int:
        return self.state.shard

    @property
    def height(self) -> int:
        return self.state.height

    @property
    def virtual_shards(self) -> Nodes:
        parts = {fid_prefix(fid)[0] for fid in self.damaged}
        return self.sound.virtual_shards.replaced(
            {bytes((part,)): self.state.fids(part).node(bytes((part >> 4, part & 15))) for part in parts}
        )

    def fids(self, virtual_shard: int) -> Nodes:
        return self.state.fids(virtual_shard)

    def leaves(self, fid_prefix: bytes) -> Nodes:
        return self.state.leaves(fid_prefix)


@dataclass(frozen=True)
class SoundNode:
    """All shards' tries, as far as `grpc_api` asks a hub."""

    tries: Mapping[int, SoundTrie]

    @property
    def chain(self) -> "SoundNode":
        return self

    @property
    def faults(self) -> SimpleNamespace:
        return SimpleNamespace(api_key=None)

    def advance(self) -> None:
        """Nothing new comes."""

    def hosted(self, shard: int) -> SoundTrie | None:
        return self.tries.get(shard)

    def trie(self, shard: int) -> SoundTrie | None:
        return self.tries.get(shard)

    def blocks(self, shard: int, start: int, stop: int | None) -> list[bytes]:
        trie = self.tries[shard]
        if trie.height < start or (stop is not None and stop <= trie.height):
            return []
        _, chunk = sealed_block(shard, trie.height, 1, bytes(32), trie.root.hash)
        return [chunk]


@contextmanager
def serving_node(node: SoundNode) -> Generator[str]:
    """Serve it in a thread; gives the address, as FC_HUB_GRPC takes it. Raises RuntimeError if it does not start."""
    loop = asyncio.new_event_loop()
    started, ended = threading.Event(), asyncio.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with grpc_api(node, "127.0.0.1", 0) as port:  # pyright: ignore[reportArgumentType]
            ports.append(port)
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="sound-node", daemon=True)
    thread.start()
    try:
        if not started.wait(_START_SECONDS):
            raise RuntimeError("the benchmark's node does not start")
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(_START_SECONDS)
        loop.close()
