"""Which of some leaves a node has, by what it tells of the subtree of an FID and a type: its hash proves them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from math import comb
from typing import Final

from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.trie import Node, Nodes

__all__ = ["explained"]

_MOST_TRIED: Final = 2_000
"""So many choices are hashed of the leaves below one nibble: 0.2 s."""


def explained(prefix: bytes, told: ToldNode | None, candidates: Collection[bytes]) -> list[bytes] | None:
    """Those of the candidates (type byte and what follows) that make the node at `prefix`, an FID's and the type byte.

    None where no choice of them does: the node has others.
    """
    if told is None:
        return []
    path = bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))
    fid_prefix = prefix[:-1]
    # A single leaf stands at the path itself: it has no children.
    groups: Mapping[bytes, Node] = {path + bytes((nibble,)): node for nibble, node in told.children.items()}
    groups = groups or {path: told.node}
    found: list[bytes] = []
    for below, node in groups.items():
        nibbles = below[len(path) :]
        some = [leaf for leaf in sorted(candidates) if not nibbles or leaf[1] >> 4 == nibbles[0]]
        chosen = _chosen(fid_prefix, below, node, some)
        if chosen is None:
            return None
        found += chosen
    return found


def _chosen(fid_prefix: bytes, path: bytes, node: Node, leaves: Sequence[bytes]) -> list[bytes] | None:
    if comb(len(leaves), node.leaf_count) > _MOST_TRIED:
        return None
    for some in combinations(leaves, node.leaf_count):
        if Nodes.of_leaves([fid_prefix + leaf for leaf in some]).node(path) == node:
            return list(some)
    return None
