"""Damages are found from the root by few requests: counted, never timed."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.proof.descent import Descent, ToldNode, descend
from fc_pipeline.proof.leaf_keys import contract_event_leaf, fid_prefix, fname_leaf, message_leaf
from fc_pipeline.proof.trie import FID_DEPTH, TYPE_DEPTH, VIRTUAL_SHARD_DEPTH, Node, Nodes

FIDS = 100_000
DAMAGES = 300
MOST_REQUESTS = 60

Leaves = dict[bytes, set[bytes]]
"""FID's prefix → its leaves' keys."""


def path_of(prefix: bytes) -> bytes:
    return bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))


@dataclass
class Side:
    """A trie, of which single FIDs are changed."""

    leaves: Leaves
    _shards: dict[int, Nodes] = field(default_factory=dict)
    _members: dict[int, set[bytes]] = field(default_factory=dict)
    _tops: dict[int, Node | None] = field(default_factory=dict)
    requests: int = 0

    def __post_init__(self) -> None:
        for prefix in self.leaves:
            self._members.setdefault(prefix[0], set()).add(prefix)

    def with_changes(self, changes: Leaves) -> "Side":
        """Another one, which shares what is not changed."""
        other = Side.__new__(Side)
        other.leaves = {**self.leaves, **changes}
        touched = {prefix[0] for prefix in changes}
        other._members = dict(self._members)
        for prefix, leaves in changes.items():
            members = set(other._members.get(prefix[0], set()))
            other._members[prefix[0]] = members | {prefix} if leaves else members - {prefix}
        other._shards = {shard: nodes for shard, nodes in self._shards.items() if shard not in touched}
        other._tops = {shard: node for shard, node in self._tops.items() if shard not in touched}
        other.requests = 0
        return other

    def fids_of(self, shard: int) -> Nodes:
        if shard not in self._shards:
            keys = [key for prefix in self._members.get(shard, ()) for key in self.leaves[prefix]]
            self._shards[shard] = Nodes.of_leaves(keys).at(FID_DEPTH)
        return self._shards[shard]

    async def shards(self) -> Nodes:
        for shard in self._members.keys() - self._tops.keys():
            self._tops[shard] = self.fids_of(shard).node(path_of(bytes([shard])))
        present = {bytes([shard]): node for shard, node in self._tops.items() if node is not None}
        counts = [node.leaf_count for node in present.values()]
        return Nodes.of_digests(list(present), counts, [node.hash for node in present.values()])

    async def fids(self, virtual_shard: int) -> Nodes:
        return self.fids_of(virtual_shard)

    async def leaves_of(self, prefix: bytes) -> Nodes:
        return Nodes.of_leaves(list(self.leaves.get(prefix, ())))

    async def told(self, prefix: bytes) -> ToldNode | None:
        """As a node answers."""
        self.requests += 1
        if not prefix:
            nodes = await self.shards()
        else:
            nodes = self.fids_of(prefix[0]) if len(prefix) < 5 else await self.leaves_of(prefix[:5])
        node = nodes.node(path_of(prefix))
        return None if node is None else ToldNode(node, nodes.children(path_of(prefix)))


class Ours:
    def __init__(self, side: Side) -> None:
        self.shards, self.fids, self.leaves = side.shards, side.fids, side.leaves_of


def descent(ours: Side, theirs: Side, max_requests: int = 10_000) -> Descent:
    return asyncio.run(descend(Ours(ours), theirs.told, max_requests=max_requests))


def network(fids: int, seed: int) -> Leaves:
    chance = random.Random(seed)
    found: Leaves = {}
    for fid in range(1, fids + 1):
        prefix = fid_prefix(fid)
        leaves = {prefix + contract_event_leaf(kind, chance.randbytes(32), 0) for kind in (1, 3, 4)}
        for kind in chance.choices((1, 3, 5, 11), k=chance.randrange(4)):
            leaves.add(prefix + message_leaf(kind, chance.randbytes(20)))
        if fid % 2:
            leaves.add(prefix + fname_leaf(f"user{fid}"))
        found[prefix] = leaves
    return found


def damage(leaves: Leaves, kind: str, chance: random.Random) -> Leaves:
    """Our leaves of the FIDs that one damaged record concerns."""
    fid, other = (fid_prefix(chance.randrange(1, FIDS + 1)) for _ in range(2))
    key = chance.choice(sorted(leaves[fid]))
    match kind:
        case "deleted" | "remove forgotten":
            return {fid: leaves[fid] - {key}}
        case "invented":
            return {fid: leaves[fid] | {fid + message_leaf(2, chance.randbytes(20))}}
        case "hash changed" | "old compact state":
            return {fid: leaves[fid] - {key} | {key[:6] + chance.randbytes(len(key) - 6)}}
        case "fid swapped":
            return {fid: leaves[fid] - {key}, other: leaves[other] | {other + key[5:]}}
        case "user unknown":
            return {fid: set()}
    raise AssertionError(kind)


KINDS = ("deleted", "invented", "hash changed", "remove forgotten", "old compact state", "fid swapped", "user unknown")


@pytest.mark.slow
def test_each_single_damage_among_100_000_users_is_found_by_few_requests() -> None:
    theirs = Side(network(FIDS, seed=1))
    whole = asyncio.run(theirs.shards()).root
    chance = random.Random(18)
    most: Counter[str] = Counter()
    total = 0
    for number in range(DAMAGES):
        kind = KINDS[number % len(KINDS)]
        changes = damage(theirs.leaves, kind, chance)
        ours = theirs.with_changes(changes)
        assert asyncio.run(ours.shards()).root != whole
        theirs.requests = 0
        found = descent(ours, theirs)
        assert {difference.prefix for difference in found.fids} == changes.keys(), (number, kind)
        assert found.requests == theirs.requests <= MOST_REQUESTS, (number, kind)
        wrong = {key[:6] for prefix in changes for key in changes[prefix] ^ theirs.leaves[prefix]}
        if kind != "user unknown":
            assert {difference.prefix for difference in found.types} == wrong, (number, kind)
        total += found.requests
        most[kind] = max(most[kind], found.requests)
    print("most requests for one damage:", dict(most), "on average", total / DAMAGES)


def test_equal_tries_are_told_by_one_request() -> None:
    side = Side(network(100, seed=2))
    found = descent(side, side)
    assert (found.fids, found.types, found.requests, found.is_whole) == ([], [], 1, True)


@pytest.mark.parametrize("fids", [0, 1, 300])
def test_a_side_without_anything_differs_in_all(fids: int) -> None:
    full, empty = Side(network(fids, seed=3)), Side({})
    assert {one.prefix for one in descent(full, empty).fids} == set(full.leaves)
    assert all(one.theirs is None for one in descent(full, empty).fids)
    assert {one.prefix for one in descent(empty, full).fids} == set(full.leaves)
    assert all(one.ours is None for one in descent(empty, full).fids)


def test_what_is_found_before_the_requests_run_out_is_told_as_a_part() -> None:
    found = descent(Side({}), Side(network(300, seed=3)), max_requests=100)
    assert (found.requests, found.is_whole) == (100, False)


# Few FIDs, close together and far apart, with few leaves each.
some_leaves = st.sets(
    st.builds(message_leaf, st.sampled_from([1, 2, 17]), st.integers(0, 3).map(lambda n: bytes([n] * 20)))
)
sides = st.dictionaries(st.sampled_from([1, 2, 3, 255, 256, 70_000, 2**32 - 1]), some_leaves, max_size=7)


@given(sides, sides)
def test_all_differences_are_found_and_nothing_else(
    first: dict[int, set[bytes]], second: dict[int, set[bytes]]
) -> None:
    one, two = (
        {fid_prefix(fid): {fid_prefix(fid) + leaf for leaf in leaves} for fid, leaves in side.items() if leaves}
        for side in (first, second)
    )
    found = descent(Side(one), Side(two))
    assert {difference.prefix for difference in found.fids} == {
        prefix for prefix in one.keys() | two.keys() if one.get(prefix) != two.get(prefix)
    }
    assert {difference.prefix for difference in found.types} == {
        key[:6] for prefix in one.keys() & two.keys() for key in one[prefix] ^ two[prefix]
    }
    assert {len(difference.prefix) for difference in found.types} <= {TYPE_DEPTH // 2}
    assert VIRTUAL_SHARD_DEPTH < FID_DEPTH < TYPE_DEPTH
