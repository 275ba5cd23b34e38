"""The Merkle trie over a shard's live records: its nodes' hashes and counts from the keys alone (node-db 3.2).

A key of n bytes is a path of 2n nibbles, the high one first. Down to depth 12 (virtual shard, FID, type byte) there is
a node at every depth; below, a subtree of one key is a leaf as far up as it can stand. A leaf's hash is BLAKE3-160 of
its path, one nibble a byte; an inner node's is that of its children's hashes, joined in the order of their nibbles.

Millions of leaves are hashed: per hash there is one call of `blake3`, all else goes over whole arrays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix, key_bytes_of_type

__all__ = [
    "EMPTY_ROOT",
    "FID_DEPTH",
    "HASH_BYTES",
    "TYPE_DEPTH",
    "VIRTUAL_SHARDS",
    "VIRTUAL_SHARD_DEPTH",
    "Node",
    "Nodes",
    "fid_digests",
]

HASH_BYTES = 20
VIRTUAL_SHARD_DEPTH = 2
VIRTUAL_SHARDS = 16**VIRTUAL_SHARD_DEPTH
FID_DEPTH = 10
TYPE_DEPTH = 12
EMPTY_ROOT = b""

_KEY_BYTES = 42
_TYPE_AT = FID_PREFIX_BYTES
_LENGTHS = np.array([key_bytes_of_type(type_byte) for type_byte in range(256)])
_LEAVES_AT_A_TIME = 1 << 16

Bytes = npt.NDArray[np.uint8]
Keys = npt.NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class Node:
    """What a node says of all below it: how many leaves there are, and their common hash of 20 bytes."""

    leaf_count: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Nodes:
    """Nodes of one trie, none below another, by ascending key: of them any node above can be computed.

    `keys` are padded to equal length with NUL, `depths` are in nibbles, `hashes` has 20 columns.
    """

    keys: Keys
    depths: npt.NDArray[np.int16]
    leaf_counts: npt.NDArray[np.int64]
    hashes: Bytes

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of_leaves(cls, keys: Sequence[bytes]) -> "Nodes":
        """The leaves with these whole keys, in any order. Raises ValueError for one that is there twice or is none."""
        lengths = np.fromiter(map(len, keys), np.int64, len(keys))
        return cls._of_keys(np.array(keys, dtype=f"S{_KEY_BYTES}"), lengths)

    @classmethod
    def of_fid_leaves(cls, fids: npt.NDArray[np.int64], leaves: Sequence[bytes]) -> "Nodes":
        """The leaves of FIDs, without the FID's bytes, side by side and in any order. Raises ValueError as above."""
        lengths = np.fromiter(map(len, leaves), np.int64, len(leaves)) + FID_PREFIX_BYTES
        distinct, places = np.unique(fids, return_inverse=True)
        prefixes = np.frombuffer(b"".join(map(fid_prefix, distinct.tolist())), np.uint8)
        rows = np.empty((len(leaves), _KEY_BYTES), np.uint8)
        rows[:, :FID_PREFIX_BYTES] = prefixes.reshape(-1, FID_PREFIX_BYTES)[places]
        rows[:, FID_PREFIX_BYTES:] = _rows(np.array(leaves, dtype=f"S{_KEY_BYTES - FID_PREFIX_BYTES}"))
        return cls._of_keys(rows.reshape(-1).view(f"S{_KEY_BYTES}"), lengths)

    @classmethod
    def of_digests(cls, prefixes: Sequence[bytes], leaf_counts: Sequence[int], hashes: Sequence[bytes]) -> "Nodes":
        """Nodes with keys of whole bytes and of one depth, as of FIDs (5 bytes) or virtual shards (1), in any order."""
        width = len(prefixes[0]) if prefixes else FID_PREFIX_BYTES
        if any(len(prefix) != width for prefix in prefixes) or any(len(digest) != HASH_BYTES for digest in hashes):
            raise ValueError(f"digests have prefixes of {width} bytes and hashes of {HASH_BYTES}")
        keys = np.array(prefixes, dtype=f"S{width}")
        order = np.argsort(keys)
        nodes = cls(
            keys[order],
            np.full(len(keys), 2 * width, np.int16),
            np.array(leaf_counts, np.int64)[order],
            np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, HASH_BYTES)[order],
        )
        _shared_nibbles(nodes.keys)
        return nodes

    @classmethod
    def _of_keys(cls, keys: Keys, lengths: npt.NDArray[np.int64]) -> "Nodes":
        if len(keys):
            wrong = np.flatnonzero(lengths != _LENGTHS[_rows(keys)[:, _TYPE_AT]])
            if len(wrong):
                padded = _rows(keys)[wrong[0]].tobytes().hex()
                raise ValueError(f"no leaf's key: {padded} of {lengths[wrong[0]]} bytes")
        keys = np.sort(keys)
        shared = _shared_nibbles(keys)
        # A leaf stands one below what it shares with a neighbour.
        depths = np.full(len(keys), TYPE_DEPTH, np.int16)
        np.maximum(depths[1:], shared + 1, out=depths[1:])
        np.maximum(depths[:-1], shared + 1, out=depths[:-1])
        return cls(keys, depths, np.ones(len(keys), np.int64), _leaf_hashes(keys))

    def at(self, depth: int) -> "Nodes":
        """The nodes at this depth, and those of these that stand further up."""
        shared = np.full(len(self), -1, np.int16)
        shared[1:] = _shared_nibbles(self.keys)
        return self._above(shared, depth)

    def _above(self, shared: npt.NDArray[np.int16], depth: int) -> "Nodes":
        """The nodes at this depth; `shared` is how many nibbles each key has in common with the one before it."""
        depths, hashes = self.depths.copy(), self.hashes.copy()
        for below in range(int(depths.max(initial=0)), depth, -1):
            at_level = np.flatnonzero(depths == below)
            is_first = shared[at_level] < below - 1
            firsts = at_level[is_first]
            bounds = np.append(np.flatnonzero(is_first), len(at_level)) * HASH_BYTES
            depths[at_level] = -1
            depths[firsts] = below - 1
            hashes[firsts] = _slice_hashes(hashes[at_level].tobytes(), bounds.tolist())
        left = np.flatnonzero(depths >= 0)
        counts = np.add.reduceat(self.leaf_counts, left) if len(left) else self.leaf_counts
        keys = self.keys[left]
        if depth % 2 == 0 and depth and len(left) and bool((depths[left] <= depth).all()):
            keys = keys.astype(f"S{depth // 2}")
        return Nodes(keys, depths[left], counts, hashes[left])

    def listed(self) -> Iterator[tuple[bytes, Node]]:
        """Each node with its key."""
        for key, count, digest in zip(_rows(self.keys), self.leaf_counts.tolist(), self.hashes, strict=True):
            yield key.tobytes(), Node(count, digest.tobytes())

    def replaced(self, nodes: Mapping[bytes, Node | None]) -> "Nodes":
        """These nodes, whose keys are whole bytes, with those given in place of the ones there, or without (None)."""
        kept = {**dict(self.listed()), **nodes}
        digests = {prefix: node for prefix, node in kept.items() if node is not None}
        counts = [node.leaf_count for node in digests.values()]
        return Nodes.of_digests(list(digests), counts, [node.hash for node in digests.values()])

    def below(self, path: bytes) -> "Nodes":
        """Those below a path, which has one nibble a byte."""
        low, high = _path_bounds(path, self.keys.dtype.itemsize)
        # NumPy drops what is NUL at the end of a key before it compares: equal again, for keys are of one length.
        start = int(np.searchsorted(self.keys, np.bytes_(low)))
        end = int(np.searchsorted(self.keys, np.bytes_(high), side="right"))
        within = slice(start, end)
        return Nodes(self.keys[within], self.depths[within], self.leaf_counts[within], self.hashes[within])

    def node(self, path: bytes) -> Node | None:
        """The node at a path, which has one nibble a byte; none where nothing is below it.

        A path that ends below a leaf has the leaf's hash: the trie has no node there.
        """
        found = self.below(path).at(len(path))
        return Node(int(found.leaf_counts[0]), found.hashes[0].tobytes()) if len(found) else None

    def children(self, path: bytes) -> dict[int, Node]:
        """The children of the node at a path, by nibble."""
        found = self.below(path).at(len(path) + 1)
        nibbles = _nibbles(found.keys)[:, len(path)].tolist() if len(found) else []
        digests = [row.tobytes() for row in found.hashes]
        return {
            nibble: Node(count, digest)
            for nibble, count, digest in zip(nibbles, found.leaf_counts.tolist(), digests, strict=True)
        }

    @property
    def root(self) -> Node:
        """The root: without any leaf its hash is empty."""
        return self.node(b"") or Node(0, EMPTY_ROOT)


def fid_digests(fids: npt.NDArray[np.int64], leaves: Sequence[bytes]) -> Nodes:
    """The nodes of FIDs (depth 10, keys of 5 bytes) from all their leaves, side by side and in any order.

    Raises ValueError for a leaf that is there twice or is none. Some 500 bytes are in use per leaf of one call.
    """
    return Nodes.of_fid_leaves(fids, leaves).at(FID_DEPTH)


def _rows(keys: Keys) -> Bytes:
    """Each key's bytes in a row."""
    return np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), keys.dtype.itemsize)


def _nibbles(keys: Keys) -> Bytes:
    """Each key's nibbles in a row, the high one first."""
    rows = _rows(keys)
    nibbles = np.empty((len(keys), 2 * rows.shape[1]), np.uint8)
    nibbles[:, 0::2] = rows >> 4
    nibbles[:, 1::2] = rows & 15
    return nibbles


def _shared_nibbles(keys: Keys) -> npt.NDArray[np.int16]:
    """How many nibbles each key but the first has in common with the one before it. Raises ValueError for equals."""
    if len(keys) < 2:
        return np.empty(0, np.int16)
    rows = _rows(keys)
    differs = rows[1:] != rows[:-1]
    at_byte = differs.argmax(axis=1)
    places = np.arange(len(at_byte))
    equal = np.flatnonzero(~differs[places, at_byte])
    if len(equal):
        raise ValueError(f"the same key twice: {rows[equal[0]].tobytes().hex()}")
    same_high = (rows[1:][places, at_byte] ^ rows[:-1][places, at_byte]) < 16
    return (2 * at_byte + same_high).astype(np.int16)


def _leaf_hashes(keys: Keys) -> Bytes:
    """BLAKE3-160 of each key's path."""
    parts: list[Any] = []
    for start in range(0, len(keys), _LEAVES_AT_A_TIME):
        some = keys[start : start + _LEAVES_AT_A_TIME]
        paths = _nibbles(some)
        starts = np.arange(len(some)) * paths.shape[1]
        ends = starts + 2 * _LENGTHS[_rows(some)[:, _TYPE_AT]]
        joined = paths.tobytes()
        bounds = zip(starts.tolist(), ends.tolist(), strict=True)
        parts.append(_digest_rows([blake3(joined[low:high]).digest(HASH_BYTES) for low, high in bounds]))
    return np.concatenate(parts) if parts else np.empty((0, HASH_BYTES), np.uint8)


def _slice_hashes(joined: bytes, bounds: list[int]) -> Bytes:
    """BLAKE3-160 of each slice from one bound to the next."""
    return _digest_rows([blake3(joined[low:high]).digest(HASH_BYTES) for low, high in pairwise(bounds)])


def _digest_rows(digests: list[bytes]) -> Bytes:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HASH_BYTES)


def _path_bounds(path: bytes, key_bytes: int) -> tuple[bytes, bytes]:
    """The least and the greatest key below a path."""
    digits = "".join("0123456789abcdef"[nibble] for nibble in path)
    low = bytes.fromhex(digits.ljust(2 * key_bytes, "0"))
    return low, bytes.fromhex(digits.ljust(2 * key_bytes, "f"))
