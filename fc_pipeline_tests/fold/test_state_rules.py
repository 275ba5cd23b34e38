"""What each kind of event does to the tables (hub-api 7), told by small cases in every order of arrival."""

from itertools import permutations
from typing import Any

import pytest

from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Event,
    blocks_of,
    cast_add,
    cast_remove,
    failure,
    merge,
    merge_proof,
    micro_batch,
    proof,
    prune,
    reaction,
    revoke,
    user_data,
    verification,
    verification_remove,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

CAST = cast_add(1, "mine")
HASH = bytes.fromhex(CAST["hash"][2:])
LIKE = reaction(1, (2, CAST["hash"]), timestamp=NOW)
UNLIKE = reaction(1, (2, CAST["hash"]), timestamp=NOW + 1, add=False)
ADDRESS = "0x" + "Ab" * 20
ENS = proof("a.eth", 1, HOUR_UNIX, "ENS_L1")

CASES: dict[str, tuple[list[Event], str, list[tuple[Any, ...]]]] = {
    "a removed cast leaves a tombstone": (
        [merge(CAST), merge(cast_remove(1, CAST["hash"]), CAST)],
        "SELECT fid, text, deleted_reason FROM casts",
        [(1, None, "removed")],
    ),
    "a stranger's remove does nothing": (
        [merge(cast_remove(7, CAST["hash"])), merge(CAST), merge(cast_remove(8, CAST["hash"]))],
        "SELECT fid, text FROM casts WHERE deleted_at IS NULL",
        [(1, "mine")],
    ),
    "a stranger's remove does not undo the author's": (
        [merge(CAST), merge(cast_remove(1, CAST["hash"]), CAST), merge(cast_remove(7, CAST["hash"]))],
        "SELECT fid FROM casts WHERE deleted_at IS NULL",
        [],
    ),
    "a cast may come back after its remove was pruned": (
        [merge(CAST), merge(cast_remove(1, CAST["hash"]), CAST), prune(cast_remove(1, CAST["hash"])), merge(CAST)],
        "SELECT text FROM casts WHERE deleted_at IS NULL",
        [("mine",)],
    ),
    "a failed merge is no merge": ([failure(CAST)], "SELECT 1 FROM casts", []),
    "pruned and merged again": (
        [merge(CAST), prune(CAST), merge(CAST)],
        "SELECT text, deleted_reason FROM casts",
        [("mine", None)],
    ),
    "an unliked cast": (
        [merge(LIKE), merge(UNLIKE, LIKE)],
        "SELECT type, target_hash, deleted_reason FROM reactions",
        [("like", None, "removed")],
    ),
    "pruning a remove changes nothing": (
        [merge(LIKE), merge(UNLIKE, LIKE), prune(UNLIKE)],
        "SELECT deleted_reason FROM reactions",
        [("removed",)],
    ),
    "a cast and a URL of the same bytes are two targets": (
        [merge(LIKE), merge(reaction(1, CAST["hash"]))],
        "SELECT target_hash, target_url FROM reactions ORDER BY target_url",
        [(None, CAST["hash"]), (HASH, None)],
    ),
    "an address in other letters is the same": (
        [merge(verification(1, ADDRESS.lower())), merge(verification_remove(1, "0x" + "AB" * 20, NOW + 1))],
        "SELECT address, deleted_reason FROM verifications",
        [(ADDRESS.lower(), "removed")],
    ),
    "a revoked field": (
        [merge(user_data(1, "USERNAME", "a")), revoke(user_data(1, "USERNAME", "a"))],
        "SELECT value, deleted_reason FROM user_data",
        [(None, "revoked")],
    ),
    "a newer field in one event with the old": (
        [
            merge(user_data(1, "BIO", "old")),
            merge(user_data(1, "BIO", "new", NOW + 1), user_data(1, "BIO", "old")),
        ],
        "SELECT value, deleted_reason FROM user_data",
        [("new", None)],
    ),
    "a name goes to the newest proof": (
        [merge_proof(proof("a", 2, HOUR_UNIX + 5)), merge_proof(proof("a", 1, HOUR_UNIX))],
        "SELECT fid, owner FROM username_proofs",
        [(2, "0x" + f"{2:040x}")],
    ),
    "at the same time the higher signature wins": (
        [
            merge_proof(proof("a", 1, HOUR_UNIX, signature=b"\x02" * 65)),
            merge_proof(proof("a", 2, HOUR_UNIX, signature=b"\x01" * 65)),
        ],
        "SELECT fid FROM username_proofs",
        [(1,)],
    ),
    "a released name": (
        [merge_proof(proof("a", 1, HOUR_UNIX)), merge_proof(proof("a", 0, HOUR_UNIX + 7), proof("a", 1, HOUR_UNIX))],
        "SELECT fid, owner, deleted_reason, extract(epoch FROM deleted_at)::bigint FROM username_proofs",
        [(None, None, "released", HOUR_UNIX + 7)],
    ),
    "a pruned ENS proof": (
        [merge_proof(ENS), merge_proof(None, ENS)],
        "SELECT name, type, fid, deleted_reason FROM username_proofs",
        [("a.eth", "ens", None, "revoked")],
    ),
    "an ENS proof merged again after its prune": (
        [merge_proof(ENS), merge_proof(None, ENS), merge_proof(ENS)],
        "SELECT fid, deleted_at FROM username_proofs",
        [(1, None)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_in_every_order(replica: FoldedDatabase, writer: FoldSession, case: str) -> None:
    events, query, expected = CASES[case]
    blocks = blocks_of(*([event] for event in events))
    orders = list(permutations(sorted(blocks)))
    first = None
    for order in orders:
        replica.empty()
        for height in order:
            writer.fold(micro_batch(blocks, height, height))
        assert [tuple(row) for row in replica.rows(query)] == expected, order
        first = first or replica.dump()
        assert replica.dump() == first, order
    replica.empty()
    replica.fold_blocks(blocks)
    assert replica.dump() == first
    assert replica.quarantined() == []


def test_an_fname_on_both_shards_is_one_name(replica: FoldedDatabase) -> None:
    moved = proof("a", 3, HOUR_UNIX + 1), proof("a", 1, HOUR_UNIX)
    log = {
        1: blocks_of([merge_proof(moved[1])], [merge_proof(*moved)], first_height=10),
        2: blocks_of([merge_proof(moved[1])], [merge_proof(*moved)], shard=2, first_height=9_000),
    }
    dumps = []
    for order in ((1, 2), (2, 1)):
        replica.empty()
        for shard in order:
            replica.fold_blocks(log[shard], shard)
        assert replica.live("username_proofs", "name, type, fid, version") == [("a", "fname", 3, 9_001 << 14 | 1)]
        dumps.append(replica.dump())
    assert dumps[0] == dumps[1]
