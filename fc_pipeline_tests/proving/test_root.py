"""Our root against a recorded node's headers: what no feed tells of is taken from the node, all else is named."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.headers import SignedHeader
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, fid_prefix, leaf_type_name
from fc_pipeline.proof.trie import FID_DEPTH, VIRTUAL_SHARD_DEPTH, Nodes
from fc_pipeline.proving.root import RootProof, prove_root
from fc_pipeline_tests.support.recorded_leaves import gasless_leaves, recorded_leaves
from fc_pipeline_tests.support.recorded_node import recorded_feed
from fc_pipeline_tests.support.replayed_grpc import replayed_grpc

SHARDS = (1, 2)
LEAVES = {1: 1779, 2: 1532}
CAST_ADD = 1 << 3


@dataclass
class Shard:
    """A state of the live set that is in memory."""

    shard: int
    height: int
    keys: set[bytes]

    @property
    def virtual_shards(self) -> Nodes:
        return Nodes.of_leaves(list(self.keys)).at(VIRTUAL_SHARD_DEPTH)

    def fids(self, virtual_shard: int) -> Nodes:
        return Nodes.of_leaves([key for key in self.keys if key[0] == virtual_shard]).at(FID_DEPTH)

    def leaves(self, fid_prefix: bytes) -> Nodes:
        return Nodes.of_leaves([key for key in self.keys if key.startswith(fid_prefix)])


def recorded(fixtures: Path, shard: int) -> Shard:
    return Shard(shard, max(recorded_feed(fixtures, shard)), set(recorded_leaves(fixtures, shard)))


@dataclass
class RecordedNode:
    """Headers are the recorded node's; its trie is made of its leaves, for not every prefix of it was recorded."""

    grpc: GrpcNode
    tries: dict[int, Nodes]

    async def block(self, shard: int, height: int) -> SignedHeader | None:
        return await self.grpc.block(shard, height)

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None:
        path = bytes(nibble for byte in prefix for nibble in (byte >> 4, byte & 15))
        node = self.tries[shard].node(path)
        return None if node is None else ToldNode(node, self.tries[shard].children(path))


def tries_of(fixtures: Path) -> dict[int, Nodes]:
    return {
        shard: Nodes.of_leaves([*recorded_leaves(fixtures, shard), *gasless_leaves(fixtures, shard)])
        for shard in SHARDS
    }


def proved(
    fixtures: Path,
    *states: Shard,
    validators: frozenset[bytes] = frozenset(),
    tries: dict[int, Nodes] | None = None,
) -> list[RootProof]:
    """The proofs of these states; `tries` are what the node has become, if not what was recorded."""

    async def prove(url: str) -> list[RootProof]:
        async with GrpcNode(HubEndpoint(url)) as grpc:
            as_recorded = tries_of(fixtures)
            for shard in SHARDS:
                assert await grpc.trie_node(shard, b"") == await RecordedNode(grpc, as_recorded).trie_node(shard, b"")
            node = RecordedNode(grpc, tries or as_recorded)
            return [await prove_root(state, node, validators) for state in states]

    with replayed_grpc(fixtures) as url:
        return asyncio.run(prove(url))


def test_the_feed_alone_makes_the_signed_root_but_for_gasless_keys(shared_fixtures: Path) -> None:
    for shard, proof in zip(
        SHARDS, proved(shared_fixtures, *(recorded(shared_fixtures, n) for n in SHARDS)), strict=True
    ):
        assert proof.is_proved
        assert proof.ours.leaf_count == LEAVES[shard]
        assert {leaf_type_name(one.prefix[FID_PREFIX_BYTES]) for one in proof.taken} <= {"KEY_ADD", "KEY_REMOVE"}
        expected = {key[: FID_PREFIX_BYTES + 1] for key in gasless_leaves(shared_fixtures, shard)}
        assert {one.prefix for one in proof.taken} == expected
        assert proof.differing == ()


def test_with_these_keys_nothing_is_asked_of_the_trie(shared_fixtures: Path) -> None:
    state = recorded(shared_fixtures, 1)
    state.keys |= set(gasless_leaves(shared_fixtures, 1))
    (proof,) = proved(shared_fixtures, state)
    assert proof.is_proved
    assert (proof.taken, proof.requests) == ((), 0)


def test_validators_that_signed_prove_the_header_and_others_do_not(shared_fixtures: Path) -> None:
    async def signers(url: str) -> frozenset[bytes]:
        async with GrpcNode(HubEndpoint(url)) as node:
            block = await node.block(1, max(recorded_feed(shared_fixtures, 1)))
            assert block is not None
            return frozenset(vote.signer for vote in block.signatures)

    with replayed_grpc(shared_fixtures) as url:
        validators = asyncio.run(signers(url))
    state = recorded(shared_fixtures, 1)
    (proof,) = proved(shared_fixtures, state, validators=validators)
    assert proof.is_signed
    (proof,) = proved(shared_fixtures, state, validators=frozenset({bytes(32)}))
    assert proof.is_proved
    assert not proof.is_signed
    (proof,) = proved(shared_fixtures, state)
    assert proof.consensus is None


def missing(keys: set[bytes], key: bytes) -> None:
    keys.remove(key)


def invented(keys: set[bytes], key: bytes) -> None:
    keys.add(key[:-1] + bytes((key[-1] ^ 1,)))


def changed(keys: set[bytes], key: bytes) -> None:
    invented(keys, key)
    missing(keys, key)


@pytest.mark.parametrize("damage", [missing, invented, changed])
def test_a_damaged_user_is_named(shared_fixtures: Path, damage: Callable[[set[bytes], bytes], None]) -> None:
    state = recorded(shared_fixtures, 2)
    key = min(key for key in state.keys if key[FID_PREFIX_BYTES] == CAST_ADD)
    damage(state.keys, key)
    (proof,) = proved(shared_fixtures, state)
    assert not proof.is_proved
    assert {one.prefix for one in proof.differing} == {key[:FID_PREFIX_BYTES], key[: FID_PREFIX_BYTES + 1]}


def test_a_whole_user_that_is_missing_is_named(shared_fixtures: Path) -> None:
    state = recorded(shared_fixtures, 1)
    fid = next(fid for fid in range(1000, 1060) if len(state.leaves(fid_prefix(fid))) > 5)
    state.keys = {key for key in state.keys if not key.startswith(fid_prefix(fid))}
    (proof,) = proved(shared_fixtures, state)
    assert [(one.prefix, one.ours) for one in proof.differing] == [(fid_prefix(fid), None)]


def test_a_height_without_a_header_proves_nothing(shared_fixtures: Path) -> None:
    state = recorded(shared_fixtures, 1)
    state.height = 900
    (proof,) = proved(shared_fixtures, state)
    assert (proof.header, proof.is_proved) == (None, False)


def test_what_the_node_has_become_since_is_no_difference_once_the_root_is_proved(shared_fixtures: Path) -> None:
    """Keys that no feed tells of are looked for in a trie of now, in which others have gone on."""
    active = min(key for key in recorded_leaves(shared_fixtures, 1) if key[FID_PREFIX_BYTES] == CAST_ADD)
    assert active[:FID_PREFIX_BYTES] not in {key[:FID_PREFIX_BYTES] for key in gasless_leaves(shared_fixtures, 1)}
    later = {*recorded_leaves(shared_fixtures, 1), *gasless_leaves(shared_fixtures, 1)}
    invented(later, active)
    tries = {**tries_of(shared_fixtures), 1: Nodes.of_leaves(list(later))}
    (proof,) = proved(shared_fixtures, recorded(shared_fixtures, 1), tries=tries)
    assert proof.is_proved
    assert proof.differing == ()
