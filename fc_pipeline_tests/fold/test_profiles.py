"""`user_profiles`: one row per FID, derived from its sources, one upsert whatever the number of changes."""

from itertools import permutations
from typing import Any

from fc_pipeline.fold.outcomes import Written
from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Event,
    Json,
    blocks_of,
    cast_add,
    chain_event,
    merge,
    merge_chain,
    merge_proof,
    micro_batch,
    proof,
    revoke,
    user_data,
    verification,
    verification_remove,
)
from fc_pipeline_tests.support.folded import FoldedDatabase

ETH = "0x" + "a1" * 20
CHECKSUM_ETH = "0x" + "A1" * 20
OLDER_ETH = "0x" + "f9" * 20
SOL = "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM"
CUSTODY = "0x" + "c1" * 20
NEW_CUSTODY = "0x" + "c2" * 20

FIELDS = {
    "USERNAME": ("username", "alice"),
    "DISPLAY": ("display_name", "Alice"),
    "BIO": ("bio", "hi"),
    "PFP": ("pfp_url", "https://a.example/p.png"),
    "URL": ("url", "https://a.example"),
    "LOCATION": ("location", "geo:1.00,2.00"),
    "TWITTER": ("twitter", "alice_x"),
    "GITHUB": ("github", "alice-g"),
    "BANNER": ("banner_url", "https://a.example/b.png"),
    "USER_DATA_PRIMARY_ADDRESS_ETHEREUM": ("primary_eth_address", "0x" + "Ee" * 20),
    "USER_DATA_PRIMARY_ADDRESS_SOLANA": ("primary_sol_address", "So1" * 10),
}


def registered(fid: int, kind: str, to: str, block: int) -> Json:
    return chain_event("id_register", fid, {"to": to, "eventType": kind, "from": "0x"}, block=block)


def profile(replica: FoldedDatabase, fid: int = 1) -> dict[str, Any]:
    (row,) = replica.rows("SELECT * FROM user_profiles WHERE fid = :fid", fid=fid)
    return row._asdict()


def test_every_column_has_its_source(replica: FoldedDatabase) -> None:
    events = [merge(user_data(1, kind, value, NOW + n)) for n, (kind, (_, value)) in enumerate(FIELDS.items())]
    chain = registered(1, "Register", CUSTODY, 5)
    addresses = [("primary_eth_address", "ETHEREUM"), ("primary_sol_address", "SOLANA")]
    shown = dict(FIELDS.values())
    verified = [merge(verification(1, shown[column], NOW, protocol)) for column, protocol in addresses]
    replica.fold([*verified, *events, merge_chain(chain)])
    found = profile(replica)
    assert {column: found[column] for column, _ in FIELDS.values()} == shown
    assert found["custody_address"] == CUSTODY
    assert int(found["registered_at"].timestamp()) == chain["blockTimestamp"]
    assert int(found["updated_at"].timestamp()) == HOUR_UNIX + len(FIELDS) - 1
    assert found["deleted_at"] is None


def test_one_upsert_per_fid_whatever_the_number_of_changes(replica: FoldedDatabase) -> None:
    many = [merge(user_data(fid, "BIO", f"v{n}", NOW + n)) for fid in (1, 2, 3) for n in range(50)]
    blocks = blocks_of([*many, merge(cast_add(9))], [merge(user_data(2, "BIO", "last", NOW + 99))])
    with FoldSession(replica.url, "profiles") as session:
        assert session.fold(micro_batch(blocks, last=1_000))["user_profiles"] == Written(inserted=3)
        assert session.fold(micro_batch(blocks, first=1_001))["user_profiles"] == Written(updated=1)
    assert replica.live("user_profiles", "fid, bio") == [(1, "v49"), (2, "last"), (3, "v49")]


def test_a_change_that_alters_nothing_shown_is_written_once(replica: FoldedDatabase) -> None:
    blocks = blocks_of([merge(user_data(1, "BIO", "x"))])
    with FoldSession(replica.url, "profiles") as session:
        session.fold(micro_batch(blocks))
        assert session.refold(micro_batch(blocks))["user_profiles"] == Written()


def test_an_empty_value_clears_the_field(replica: FoldedDatabase) -> None:
    replica.fold([merge(user_data(1, "BIO", "x")), merge(user_data(1, "BIO", "", NOW + 1))])
    found = profile(replica)
    assert (found["bio"], found["deleted_at"]) == (None, None)
    assert replica.live("user_data", "value, type") == [("", "bio")]


def test_the_primary_address_is_the_verified_one_that_was_set_else_the_first_verified(
    replica: FoldedDatabase,
) -> None:
    steps: list[tuple[Event, str | None, str | None]] = [
        (merge(verification(1, ETH, NOW + 1)), ETH, None),
        (merge(verification(1, OLDER_ETH, NOW)), OLDER_ETH, None),
        (merge(verification(1, SOL, NOW, "SOLANA")), OLDER_ETH, SOL),
        (merge(user_data(1, "USER_DATA_PRIMARY_ADDRESS_ETHEREUM", "0xSet")), OLDER_ETH, SOL),
        (merge(user_data(1, "USER_DATA_PRIMARY_ADDRESS_ETHEREUM", CHECKSUM_ETH, NOW + 1)), CHECKSUM_ETH, SOL),
        (merge(user_data(1, "USER_DATA_PRIMARY_ADDRESS_ETHEREUM", "", NOW + 2)), OLDER_ETH, SOL),
        (merge(verification_remove(1, OLDER_ETH, NOW + 2)), ETH, SOL),
        (merge(verification_remove(1, SOL, NOW + 2, "SOLANA")), ETH, None),
    ]
    blocks = blocks_of(*([event] for event, _, _ in steps))
    with FoldSession(replica.url, "profiles") as session:
        for height, (_, eth, sol) in zip(sorted(blocks), steps, strict=True):
            session.fold(micro_batch(blocks, height, height))
            found = profile(replica)
            assert (found["primary_eth_address"], found["primary_sol_address"]) == (eth, sol)


def test_a_name_whose_proof_is_anothers_is_not_shown_in_any_order(replica: FoldedDatabase) -> None:
    """FID 1 shows a name that moves to FID 2, which shows it too; of the name that FID 3 shows no proof is known."""
    blocks = blocks_of(
        [merge(user_data(1, "USERNAME", "alice"))],
        [merge_proof(proof("alice", 1, HOUR_UNIX))],
        [merge_proof(proof("alice", 2, HOUR_UNIX + 60))],
        [merge(user_data(2, "USERNAME", "alice", NOW + 60)), merge(user_data(3, "USERNAME", "unproved"))],
    )
    with FoldSession(replica.url, "profiles") as session:
        for order in permutations(sorted(blocks)):
            replica.empty()
            for height in order:
                session.fold(micro_batch(blocks, height, height))
            assert replica.live("user_profiles", "fid, username") == [(1, None), (2, "alice"), (3, "unproved")], order


def test_a_name_that_comes_back_is_shown_again(replica: FoldedDatabase) -> None:
    moves = [(2, None), (1, "alice"), (0, "alice"), (2, None)]
    blocks = blocks_of(
        [merge(user_data(1, "USERNAME", "alice"))],
        *([merge_proof(proof("alice", fid, HOUR_UNIX + n))] for n, (fid, _) in enumerate(moves)),
    )
    first, *heights = sorted(blocks)
    with FoldSession(replica.url, "profiles") as session:
        session.fold(micro_batch(blocks, first, first))
        for height, (fid, shown) in zip(heights, moves, strict=True):
            session.fold(micro_batch(blocks, height, height))
            assert profile(replica)["username"] == shown, f"held by {fid}"


def test_custody_follows_the_transfers_and_the_registration_stays(replica: FoldedDatabase) -> None:
    first = registered(1, "Register", CUSTODY, 5)
    chain = [first, registered(1, "Transfer", NEW_CUSTODY, 7), registered(1, "ChangeRecovery", "0x" + "dd" * 20, 9)]
    blocks = blocks_of(*([merge_chain(event)] for event in chain))
    for order in permutations(sorted(blocks)):
        replica.empty()
        with FoldSession(replica.url, "profiles") as session:
            for height in order:
                session.fold(micro_batch(blocks, height, height))
        found = profile(replica)
        assert found["custody_address"] == NEW_CUSTODY
        assert int(found["registered_at"].timestamp()) == first["blockTimestamp"]


def test_hubbles_spelling_of_a_registration_counts(replica: FoldedDatabase) -> None:
    replica.fold([merge_chain(registered(1, "ID_REGISTER_EVENT_TYPE_REGISTER", CUSTODY, 5))])
    assert profile(replica)["custody_address"] == CUSTODY


def test_nothing_left_leaves_a_tombstone_and_a_new_value_wakes_it(replica: FoldedDatabase) -> None:
    field = user_data(1, "USERNAME", "a")
    blocks = blocks_of(
        [merge(field), merge(verification(1, ETH))],
        [revoke(field), merge(verification_remove(1, ETH, NOW + 1))],
        [merge(user_data(1, "BIO", "back", NOW + 5))],
    )
    with FoldSession(replica.url, "profiles") as session:
        session.fold(micro_batch(blocks, last=1_000))
        assert session.fold(micro_batch(blocks, first=1_001, last=1_001))["user_profiles"] == Written(deleted=1)
        gone = profile(replica)
        assert gone["username"] is None
        assert gone["primary_eth_address"] is None
        assert int(gone["deleted_at"].timestamp()) == HOUR_UNIX + 1
        session.fold(micro_batch(blocks, first=1_002))
    assert replica.live("user_profiles", "fid, bio") == [(1, "back")]


def test_a_registered_fid_without_any_field_is_live(replica: FoldedDatabase) -> None:
    field = user_data(1, "BIO", "x")
    replica.fold([merge_chain(registered(1, "Register", CUSTODY, 5)), merge(field), revoke(field)])
    assert profile(replica)["deleted_at"] is None


def test_contract_events_of_fid_0_and_of_other_kinds_make_no_profile(replica: FoldedDatabase) -> None:
    replica.fold([merge_chain(chain_event("signer", 0)), merge_chain(chain_event("storage_rent", 7))])
    assert replica.rows("SELECT 1 FROM user_profiles") == []


def test_sources_folded_alone_leave_profiles_to_a_later_refold(replica: FoldedDatabase) -> None:
    blocks = blocks_of([merge(user_data(1, "BIO", "x"))])
    with FoldSession(replica.url, "profiles") as session:
        session.fold(micro_batch(blocks, tables=("user_data",)))
        assert replica.rows("SELECT 1 FROM user_profiles") == []
        session.refold(micro_batch(blocks, tables=("user_profiles",)))
    assert profile(replica)["bio"] == "x"
