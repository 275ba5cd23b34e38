"""The leaves of the FIDs of a part, and their digests, held against the trie that the node itself keeps (node-db 3.4).

Of two kinds of leaves no other row tells: of keys that gave themselves up (KEY_REMOVE), and that the leaf of a name is
gone which was proved anew for the same user. These are taken from the trie, whose hashes lead up to the header's root.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.live_set.leaves import FidDigest
from fc_pipeline.node_db.stored_trie import StoredTrie
from fc_pipeline.proof.leaf_keys import (
    FID_PREFIX_BYTES,
    FNAME_TYPE,
    MESSAGE_TYPE_SHIFT,
    MESSAGE_TYPES,
    fid_prefix,
    leaf_type_name,
)
from fc_pipeline.proof.trie import Node, fid_digests

__all__ = ["FidLeaves", "ProvedFid", "told_alone"]

KEY_REMOVE_BYTE: Final = MESSAGE_TYPES["KEY_REMOVE"] << MESSAGE_TYPE_SHIFT
_TAKEN_FROM_TRIE: Final = frozenset({KEY_REMOVE_BYTE, FNAME_TYPE})
_SHOWN_LEAVES: Final = 3


@dataclass(frozen=True, slots=True)
class ProvedFid:
    """An FID's node as the trie has it; the leaves that only the trie told of, and the names' leaves that are gone."""

    fid: int
    node: Node
    told: Sequence[bytes] = ()
    gone: Sequence[bytes] = ()

    def digest(self, shard: int) -> FidDigest:
        """The digest to keep."""
        return FidDigest(shard, self.fid, self.node.leaf_count, self.node.hash)


@dataclass
class FidLeaves:
    """Collects leaves of one shard, without the FID's bytes, in any order."""

    shard: int
    fids: list[int] = field(default_factory=list[int])
    leaves: list[bytes] = field(default_factory=list[bytes])

    def add(self, fid: int, leaf: bytes) -> None:
        """Add a leaf of an FID."""
        self.fids.append(fid)
        self.leaves.append(leaf)

    def __len__(self) -> int:
        return len(self.leaves)

    def proved(self, trie: StoredTrie) -> Iterator[ProvedFid]:
        """Every FID with its node. Raises NodeDatabaseError where the rows are not what the node's trie says."""
        if not self.fids:
            return
        by_prefix = {fid_prefix(fid): fid for fid in dict.fromkeys(self.fids)}
        try:
            nodes = fid_digests(np.array(self.fids, np.int64), self.leaves)
        except ValueError as error:
            raise NodeDatabaseError(f"shard {self.shard}: {error}", hint=_HINT) from error
        differing: dict[bytes, Node] = {}
        for key, node in nodes.listed():
            prefix = key.ljust(FID_PREFIX_BYTES, b"\0")
            stored = trie.node(prefix)
            if stored == node:
                yield ProvedFid(by_prefix[prefix], node)
            elif stored is None:
                raise self._wrong(by_prefix[prefix], f"{node.leaf_count} records, of which the trie has none")
            else:
                differing[prefix] = stored
        if differing:
            yield from self.explained(trie, {by_prefix[prefix]: node for prefix, node in differing.items()})

    def explained(self, trie: StoredTrie, stored: Mapping[int, Node]) -> Iterator[ProvedFid]:
        """FIDs whose nodes differ, with what the trie alone tells. Raises NodeDatabaseError at other differences."""
        ours: dict[int, set[bytes]] = {fid: set() for fid in stored}
        for fid, leaf in zip(self.fids, self.leaves, strict=True):
            if fid in ours:
                ours[fid].add(leaf)
        for fid, node in stored.items():
            theirs = {key[FID_PREFIX_BYTES:] for key in trie.leaves(fid_prefix(fid))}
            told, gone = theirs - ours[fid], ours[fid] - theirs
            wrong = [leaf for leaf in told if leaf[0] not in _TAKEN_FROM_TRIE]
            wrong += [leaf for leaf in gone if leaf[0] != FNAME_TYPE]
            if wrong:
                shown = ", ".join(
                    f"{leaf_type_name(leaf[0])} {leaf[1:].hex()}" for leaf in sorted(wrong)[:_SHOWN_LEAVES]
                )
                raise self._wrong(fid, f"{len(wrong):,} of which rows and trie say different things: {shown}")
            yield ProvedFid(fid, node, sorted(told), sorted(gone))

    def _wrong(self, fid: int, found: str) -> NodeDatabaseError:
        return NodeDatabaseError(f"shard {self.shard}, FID {fid}: {found}", hint=_HINT)


def told_alone(trie: StoredTrie, fid: int) -> ProvedFid:
    """An FID of which only the trie tells. Raises NodeDatabaseError where it has leaves of other kinds."""
    empty = FidLeaves(0)
    node = trie.node(fid_prefix(fid))
    if node is None:
        raise NodeDatabaseError(f"FID {fid} is in no trie", hint=_HINT)
    return next(empty.explained(trie, {fid: node}))


_HINT: Final = "the files are damaged, or were copied while the node was running: take another copy"
