"""Of some leaves those are found that make the node that is told, and none if others are in it."""

from random import Random

import pytest

from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.leaf_keys import fid_prefix, fname_leaf, message_leaf
from fc_pipeline.proof.told_leaves import explained
from fc_pipeline.proof.trie import Nodes

VERIFICATION_ADD = 7
PREFIX = fid_prefix(1000)


def leaves_of(seed: int, count: int) -> list[bytes]:
    rng = Random(seed)
    return [message_leaf(VERIFICATION_ADD, rng.randbytes(20)) for _ in range(count)]


def told(leaves: list[bytes]) -> ToldNode | None:
    """As the node of their type tells it, among leaves of other types."""
    if not leaves:
        return None
    others = [PREFIX + message_leaf(1, bytes(20)), PREFIX + message_leaf(2, bytes(20))]
    nodes = Nodes.of_leaves([*(PREFIX + leaf for leaf in leaves), *others])
    path = bytes(nibble for byte in PREFIX + leaves[0][:1] for nibble in (byte >> 4, byte & 15))
    node = nodes.node(path)
    assert node is not None
    return ToldNode(node, nodes.children(path) if len(leaves) > 1 else {})


@pytest.mark.parametrize("there", [0, 1, 2, 5, 12])
def test_those_that_are_there_are_found(there: int) -> None:
    candidates = leaves_of(there, 14)
    prefix = PREFIX + candidates[0][:1]
    found = explained(prefix, told(candidates[:there]), candidates)
    assert found is not None
    assert sorted(found) == sorted(candidates[:there])


def test_names_that_begin_alike_are_told_apart() -> None:
    names = [fname_leaf(name) for name in ("alice", "alicia", "bob")]
    assert explained(PREFIX + names[0][:1], told(names[1:2]), names) == names[1:2]
    assert explained(PREFIX + names[0][:1], told(names[:2]), names) == names[:2]


def test_what_others_make_is_not_explained() -> None:
    candidates = leaves_of(3, 4)
    prefix = PREFIX + candidates[0][:1]
    assert explained(prefix, told(leaves_of(4, 1)), candidates) is None
    assert explained(prefix, told([*candidates[:2], *leaves_of(4, 1)]), candidates) is None
    assert explained(prefix, told(candidates[:1]), []) is None


def test_too_many_choices_are_not_tried() -> None:
    alike = [bytes((candidate[0], 7)) + candidate[2:] for candidate in leaves_of(5, 40)]
    assert explained(PREFIX + alike[0][:1], told(alike[:20]), alike) is None
