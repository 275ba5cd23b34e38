import random
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from fc_pipeline.proof.leaf_keys import contract_event_leaf, fid_prefix, fname_leaf, message_leaf, virtual_shard
from fc_pipeline.proof.trie import EMPTY_ROOT, FID_DEPTH, VIRTUAL_SHARD_DEPTH, Node, Nodes, fid_digests
from fc_pipeline_tests.support.recorded_leaves import gasless_leaves, recorded_grpc, recorded_leaves
from fc_pipeline_tests.support.wire_fields import fields_of, numbers_of

Hash = bytes


def hash_of(data: bytes) -> Hash:
    return blake3(data).digest()[:20]


def plain_hash(paths: list[bytes], depth: int) -> Hash:
    """node-db 3.2, word for word: of sorted paths that agree in their first `depth` nibbles."""
    if depth >= 12 and len(paths) == 1:
        return hash_of(paths[0])
    children = [[path for path in paths if path[depth] == nibble] for nibble in range(16)]
    return hash_of(b"".join(plain_hash(child, depth + 1) for child in children if child))


def plain_root(keys: list[bytes]) -> Hash:
    return plain_hash(sorted(path_of(key) for key in keys), 0) if keys else b""


def path_of(key: bytes) -> bytes:
    return bytes(nibble for byte in key for nibble in (byte >> 4, byte & 15))


# Few values for each byte, so that keys share long beginnings.
hashes = st.lists(st.sampled_from([0, 1, 16, 255]), min_size=20, max_size=20).map(bytes)
names = st.text(alphabet="ab", min_size=1, max_size=20)
leaves = st.one_of(
    st.builds(message_leaf, st.sampled_from([1, 2, 3, 15, 21]), hashes),
    st.builds(message_leaf, st.sampled_from([1, 5]), st.binary(min_size=20, max_size=20)),
    st.builds(fname_leaf, names),
    st.builds(contract_event_leaf, st.sampled_from([1, 3, 6]), st.binary(min_size=32, max_size=32), st.integers(0, 9)),
)
records = st.lists(st.tuples(st.integers(0, 2**33), leaves), unique_by=lambda r: (r[0] & 0xFFFFFFFF, r[1]), max_size=40)
close_records = st.lists(st.tuples(st.integers(0, 3), leaves), unique=True, max_size=40)


def keys_of(some: list[tuple[int, bytes]]) -> list[bytes]:
    return [fid_prefix(fid) + leaf for fid, leaf in some]


def digests_of(some: list[tuple[int, bytes]]) -> Nodes:
    return fid_digests(np.array([fid for fid, _ in some], np.int64), [leaf for _, leaf in some])


def test_virtual_shards_are_those_of_the_reference() -> None:
    assert [virtual_shard(fid) for fid in (0, 1, 42, 100)] == [152, 168, 141, 89]
    assert fid_prefix(2**32 + 42) == fid_prefix(42) == bytes([141, 0, 0, 0, 42])


@given(st.one_of(records, close_records), st.randoms(use_true_random=False))
def test_the_root_is_the_plain_models_whatever_the_order(some: list[tuple[int, bytes]], order: random.Random) -> None:
    expected = Node(len(some), plain_root(keys_of(some)))
    assert Nodes.of_leaves(keys_of(some)).root == expected
    order.shuffle(some)
    assert digests_of(some).root == expected


@given(st.one_of(records, close_records))
def test_digests_of_fids_are_combined_in_parts(some: list[tuple[int, bytes]]) -> None:
    fids = sorted({fid & 0xFFFFFFFF for fid, _ in some})
    parts = [digests_of([record for record in some if record[0] & 0xFFFFFFFF == fid]) for fid in fids]
    by_fid = Nodes.of_digests(
        [fid_prefix(fid) for fid in fids],
        [int(part.leaf_counts[0]) for part in parts],
        [part.hashes[0].tobytes() for part in parts],
    )
    shards = by_fid.at(VIRTUAL_SHARD_DEPTH)
    again = Nodes.of_digests(
        [key.ljust(1, b"\0") for key in shards.keys.tolist()],
        shards.leaf_counts.tolist(),
        [row.tobytes() for row in shards.hashes],
    )
    assert by_fid.root == again.root == Node(len(some), plain_root(keys_of(some)))


@given(close_records, st.integers(0, 13), st.data())
def test_nodes_on_the_way_to_a_key_are_the_plain_models(
    some: list[tuple[int, bytes]], depth: int, data: st.DataObject
) -> None:
    keys = keys_of(some)
    if not keys:
        return
    path = path_of(data.draw(st.sampled_from(sorted(keys))))[:depth]
    below = sorted(found for found in map(path_of, keys) if found.startswith(path))
    nodes = Nodes.of_leaves(keys)
    assert nodes.node(path) == Node(len(below), plain_hash(below, depth))
    if depth < 12:
        assert nodes.children(path) == {
            nibble: Node(len(child), plain_hash(child, depth + 1))
            for nibble in range(16)
            if (child := [found for found in below if found[depth] == nibble])
        }


def test_every_level_of_a_great_set_is_the_plain_models() -> None:
    chance = random.Random(18)
    some = [
        (chance.randrange(300), message_leaf(chance.choice((1, 3, 5)), chance.randbytes(20))) for _ in range(20_000)
    ]
    nodes = Nodes.of_leaves(keys_of(some))
    paths = sorted(map(path_of, keys_of(some)))
    assert nodes.root == Node(20_000, plain_hash(paths, 0))
    assert nodes.at(FID_DEPTH).root == nodes.root


def test_without_leaves_the_root_is_empty() -> None:
    assert Nodes.of_leaves([]).root == Node(0, EMPTY_ROOT) == digests_of([]).root
    assert Nodes.of_digests([], [], []).root == Node(0, EMPTY_ROOT)
    assert Nodes.of_leaves([]).children(b"") == {}


def test_what_is_nowhere_in_the_trie_is_no_node() -> None:
    nodes = Nodes.of_leaves([fid_prefix(1) + message_leaf(1, bytes(20))])
    assert nodes.node(path_of(fid_prefix(2))) is None


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ([fid_prefix(1) + message_leaf(1, bytes(20))] * 2, "the same key twice"),
        ([fid_prefix(1) + message_leaf(1, bytes(20))[:-1]], "no leaf's key"),
        ([fid_prefix(1) + message_leaf(1, bytes(20)) + b"x" * 30], "no leaf's key"),
        ([b""], "no leaf's key"),
    ],
)
def test_what_makes_no_trie_is_refused(keys: list[bytes], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Nodes.of_leaves(keys)


def test_a_digest_of_another_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="prefixes of 5 bytes"):
        Nodes.of_digests([fid_prefix(1), b"\0"], [1, 1], [bytes(20)] * 2)
    with pytest.raises(ValueError, match="the same key twice"):
        Nodes.of_digests([fid_prefix(1)] * 2, [1, 1], [bytes(20)] * 2)


@pytest.mark.parametrize("make", [lambda: message_leaf(1, b"x"), lambda: contract_event_leaf(1, b"x", 0)])
def test_a_hash_of_another_length_makes_no_leaf(make) -> None:
    with pytest.raises(ValueError, match="hash has"):
        make()


def test_a_name_that_is_too_long_makes_no_leaf() -> None:
    with pytest.raises(ValueError, match="at most 20 bytes"):
        fname_leaf("a" * 21)


@pytest.mark.parametrize("shard", [1, 2])
def test_the_recorded_feed_gives_the_root_in_the_signed_header(shared_fixtures: Path, shard: int) -> None:
    nodes = Nodes.of_leaves([*recorded_leaves(shared_fixtures, shard), *gasless_leaves(shared_fixtures, shard)])
    roots = {}
    for call in recorded_grpc(shared_fixtures):
        if call.method == "GetShardChunks" and call.response is not None:
            for chunk in fields_of(call.response)[1]:
                header = fields_of(fields_of(chunk)[1][0])
                height = numbers_of(header[1][0])
                roots[height.get(1, 0), height.get(2, 0)] = header.get(4, [b""])[0]
    assert nodes.root.hash == max((height, root) for (of_shard, height), root in roots.items() if of_shard == shard)[1]


@pytest.mark.parametrize("shard", [1, 2])
def test_every_node_that_the_recorded_trie_told_is_ours(shared_fixtures: Path, shard: int) -> None:
    nodes = Nodes.of_leaves([*recorded_leaves(shared_fixtures, shard), *gasless_leaves(shared_fixtures, shard)])
    told = 0
    for call in recorded_grpc(shared_fixtures):
        if call.method != "GetTrieMetadataByPrefix":
            continue
        request = fields_of(call.request)
        if request.get(1) != [shard]:
            continue
        path = path_of(request.get(2, [b""])[0])
        if call.response is None:
            assert nodes.node(path) is None
            continue
        answer = fields_of(call.response)
        assert nodes.node(path) == Node(answer[2][0], bytes.fromhex(answer[3][0].decode()))
        told += 1
        children = [fields_of(child) for child in answer.get(4, [])]
        if len(path) < 12:
            assert nodes.children(path) == {
                child[1][0][-1]: Node(child[2][0], bytes.fromhex(child[3][0].decode())) for child in children
            }
    assert told > 50
