"""One FID against its node in a trie: equal, or the types that differ, and what no feed tells of is no failure."""

import asyncio
from dataclasses import dataclass

import pytest

from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix, fname_leaf, leaf_type_name, message_leaf
from fc_pipeline.proof.trie import Nodes
from fc_pipeline.proving.fid_proof import FidOnShard, compare_fid

FID = 1000
CAST_ADD, LINK_REMOVE, KEY_ADD = 1, 6, 16
LEAVES = frozenset(
    {
        *(message_leaf(CAST_ADD, bytes([n]) * 20) for n in range(5)),
        message_leaf(LINK_REMOVE, b"\x07" * 20),
        fname_leaf("someone"),
    }
)


def nodes_of(leaves: frozenset[bytes]) -> Nodes:
    return Nodes.of_leaves([fid_prefix(FID) + leaf for leaf in leaves])


@dataclass
class Shard:
    """A state of the live set that is in memory, of one FID."""

    of_fid: frozenset[bytes]
    shard: int = 2
    height: int = 70

    def leaves(self, fid_prefix: bytes) -> Nodes:
        return nodes_of(self.of_fid)


@dataclass
class Trie:
    """A node's trie of which only that FID is asked."""

    of_fid: frozenset[bytes]

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None:
        nodes = nodes_of(self.of_fid)
        path = bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))
        node = nodes.node(path)
        return None if node is None else ToldNode(node, nodes.children(path))


def compared(ours: frozenset[bytes], theirs: frozenset[bytes]) -> FidOnShard:
    return asyncio.run(compare_fid(Shard(ours), Trie(theirs), FID))


def types(found: FidOnShard) -> list[str]:
    return [leaf_type_name(one.prefix[FID_PREFIX_BYTES]) for one in found.types]


def test_the_same_leaves_are_equal() -> None:
    found = compared(LEAVES, LEAVES)
    assert (found.is_equal, found.is_proved, found.types) == (True, True, ())
    assert found.found() == "7 leaves, as the hub says"
    nothing = compared(frozenset(), frozenset())
    assert (nothing.is_proved, nothing.found()) == (True, "0 leaves, as the hub says")


@pytest.mark.parametrize("kind", [CAST_ADD, LINK_REMOVE])
def test_a_leaf_too_few_or_too_many_is_named_by_its_type(kind: int) -> None:
    lost = next(leaf for leaf in sorted(LEAVES) if leaf[0] == kind << 3)
    name = leaf_type_name(kind << 3)
    for ours, theirs in ((LEAVES - {lost}, LEAVES), (LEAVES, LEAVES - {lost})):
        found = compared(ours, theirs)
        assert not found.is_proved
        assert types(found) == [name]
        assert f"FID 1000 {name}" in found.found()


def test_an_fid_that_one_side_lacks_differs_in_every_type() -> None:
    for found in (compared(LEAVES, frozenset()), compared(frozenset(), LEAVES)):
        assert not found.is_proved
        assert set(types(found)) == {"CAST_ADD", "LINK_REMOVE", "FNAME"}


def test_what_no_feed_tells_of_is_no_failure() -> None:
    found = compared(LEAVES, LEAVES | {message_leaf(KEY_ADD, b"\x01" * 20)})
    assert (found.is_equal, found.is_proved) == (False, True)
    assert types(found) == ["KEY_ADD"]
    assert "of which no feed tells" in found.found()
    both = compared(LEAVES - {max(LEAVES)}, LEAVES | {message_leaf(KEY_ADD, b"\x01" * 20)})
    assert not both.is_proved
