"""What validators make of a log: each shard's trie, and headers of its blocks, signed by the hub's own validator."""

import hashlib
from typing import Any, Final

import msgspec
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fc_pipeline.hub.wire import height_of
from fc_pipeline.proof.headers import encoded_vote
from fc_pipeline.proof.protobuf import bytes_field, number_field
from fc_pipeline.sample_hub.leaf_state import ShardTrie
from fc_pipeline.sample_hub.log import EventLog, ShardLog

__all__ = ["Chain", "sealed_block"]

_VALIDATOR: Final = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"the sample hub's only validator").digest())
_HEADERS_OF_THE_PAST: Final = 200
"""Of so many of the last blocks that are there at once there are headers: older ones are as if pruned."""
_MOST_HEADERS: Final = 20_000
_ANY: Final = msgspec.json.Decoder()


class Chain:
    """Follows a log. One validator signs, always the same one: `public_key` is what FC_VALIDATORS takes."""

    public_key: Final = _VALIDATOR.public_key().public_bytes_raw()

    def __init__(self) -> None:
        self._shards: dict[int, _ShardChain] = {}

    def follow(self, log: EventLog) -> None:
        """Take in what became visible since."""
        for number, shard in log.shards.items():
            self._shards.setdefault(number, _ShardChain(number)).follow(shard)

    def trie(self, shard: int) -> ShardTrie | None:
        """A shard's trie as of its newest block."""
        chain = self._shards.get(shard)
        return None if chain is None else chain.trie

    def blocks(self, shard: int, start: int, stop: int | None) -> list[bytes]:
        """The ShardChunks of heights from `start` to before `stop`, without transactions."""
        chain = self._shards.get(shard)
        if chain is None:
            return []
        return [chunk for height, chunk in chain.chunks.items() if start <= height and (stop is None or height < stop)]


class _ShardChain:
    def __init__(self, shard: int) -> None:
        self.shard = shard
        self.trie = ShardTrie()
        self.chunks: dict[int, bytes] = {}
        self._taken = 0
        self._parent = bytes(32)

    def follow(self, log: ShardLog) -> None:
        start, end = max(0, self._taken - log.dropped_events), log.visible_end
        timestamp = 0
        for index in range(start, end):
            raw = log.raws[index]
            if b'"blockConfirmedBody":{' in raw:
                timestamp = _block_time(_ANY.decode(raw))
            self.trie.take(raw)
            height = height_of(log.event_ids[index])
            is_last = index + 1 == end or height_of(log.event_ids[index + 1]) > height
            if is_last and height > log.head_height - _HEADERS_OF_THE_PAST:
                self._seal(height, timestamp)
        self._taken = log.dropped_events + end

    def _seal(self, height: int, timestamp: int) -> None:
        self._parent, chunk = sealed_block(self.shard, height, timestamp, self._parent, self.trie.root.hash)
        self.chunks[height] = chunk
        if len(self.chunks) > _MOST_HEADERS:
            del self.chunks[next(iter(self.chunks))]


def sealed_block(shard: int, height: int, timestamp: int, parent: bytes, shard_root: bytes) -> tuple[bytes, bytes]:
    """The hash of a block, and its ShardChunk with a header that the validator signed; in Farcaster seconds."""
    at = number_field(1, shard) + number_field(2, height)
    header = b"".join(
        (bytes_field(1, at), number_field(2, timestamp), bytes_field(3, parent), bytes_field(4, shard_root))
    )
    block_hash = blake3(header).digest()
    key = Chain.public_key
    signature = _VALIDATOR.sign(encoded_vote(shard, height, 0, block_hash, key))
    commits = b"".join(
        (
            bytes_field(1, at),
            bytes_field(3, number_field(1, shard) + bytes_field(2, block_hash)),
            bytes_field(4, bytes_field(1, key) + bytes_field(2, signature)),
        )
    )
    return block_hash, bytes_field(1, header) + bytes_field(2, block_hash) + bytes_field(4, commits)


def _block_time(event: dict[str, Any]) -> int:
    """Farcaster seconds of a BLOCK_CONFIRMED."""
    return event["blockConfirmedBody"]["timestamp"]
