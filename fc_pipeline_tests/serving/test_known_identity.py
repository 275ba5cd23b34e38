"""What a copy that is kept by id and updated_at relies on: ids stay, and whatever changes moves the time."""

from base64 import b64encode
from typing import Any

from fc_pipeline.fold.session import FoldSession
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    NOW,
    Event,
    blocks_of,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    link,
    merge,
    merge_chain,
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

ADDRESS = "0x" + "ab" * 20
SOLANA = "4vJ9JU1bJJE96FWSJKvHsmmFADCg4gpZQff4P3bkLKi"
TARGET = (7, "0x" + "07" * 20)


def fold(writer: FoldSession, place: int, *events: Event) -> None:
    """Fold one block, the next one or a later one: each is a transaction of its own."""
    writer.fold(micro_batch(blocks_of(list(events), first_height=FIRST_HEIGHT + place)))


class Copy:
    """Rows of a view as one who pulls them has them: by id, each time what has changed since."""

    def __init__(self, replica: FoldedDatabase, view: str) -> None:
        self.replica = replica
        self.view = view
        self.rows: dict[str, Any] = {}

    def pull(self) -> list[Any]:
        """The rows whose updated_at is beyond all that were seen."""
        newest = max((row.updated_at for row in self.rows.values()), default=None)
        found = self.replica.rows(
            f"SELECT * FROM {self.view} WHERE CAST(:newest AS timestamp) IS NULL OR updated_at > :newest",
            newest=newest,
        )
        self.rows |= {str(row.id): row for row in found}
        return found

    def holds_all(self) -> bool:
        """Whether what was pulled is what is there."""
        return sorted(map(repr, self.rows.values())) == sorted(
            map(repr, self.replica.rows(f"SELECT * FROM {self.view}"))
        )


def goes_and_comes_back(replica: FoldedDatabase, writer: FoldSession, view: str, *states: tuple[Event, bool]) -> Any:
    """One row through states, each an event and whether it is live then; returns it as it is at the end."""
    replica.empty()
    copy = Copy(replica, view)
    ids: set[str] = set()
    for height, (event, is_live) in enumerate(states):
        fold(writer, height, event)
        (row,) = copy.pull()
        assert (row.deleted_at is None) == is_live
        ids.add(str(row.id))
        assert copy.holds_all()
    assert len(ids) == 1
    (row,) = copy.rows.values()
    return row


def test_a_reaction_that_is_taken_back_and_made_again_is_one_row(replica: FoldedDatabase, writer: FoldSession) -> None:
    states = (
        (merge(reaction(1, TARGET)), True),
        (merge(reaction(1, TARGET, timestamp=NOW + 1, add=False)), False),
        (merge(reaction(1, TARGET, timestamp=NOW + 2)), True),
        (prune(reaction(1, TARGET, timestamp=NOW + 2)), False),
        (merge(reaction(1, TARGET, timestamp=NOW + 3)), True),
    )
    for view in ("neynar.reactions", "dune.dataset_farcaster_reactions"):
        row = goes_and_comes_back(replica, writer, view, *states)
        assert (row.reaction_type, row.fid, row.target_fid, row.target_hash) == (1, 1, 7, b"\7" * 20)
        assert row.created_at == row.timestamp


def test_a_follow_that_is_ended_by_whatever_and_made_again_is_one_row(
    replica: FoldedDatabase, writer: FoldSession
) -> None:
    states = (
        (merge(link(1, 2)), True),
        (merge(link(1, 2, timestamp=NOW + 1, add=False)), False),
        (merge(link(1, 2, timestamp=NOW + 2)), True),
        (merge(compact_state(1, [3], timestamp=NOW + 3)), False),
        (merge(link(1, 2, timestamp=NOW + 4)), True),
        (revoke(link(1, 2, timestamp=NOW + 4)), False),
        (merge(link(1, 2, timestamp=NOW + 5)), True),
    )
    for view in ("neynar.follows", "dune.dataset_farcaster_links"):
        row = goes_and_comes_back(replica, writer, view, *states)
        assert (row.fid, row.target_fid) == (1, 2)


def test_a_verification_that_is_removed_and_made_again_is_one_row(replica: FoldedDatabase, writer: FoldSession) -> None:
    for address, protocol, number in ((ADDRESS, "ETHEREUM", 0), (SOLANA, "SOLANA", 1)):
        states = (
            (merge(verification(1, address, protocol=protocol)), True),
            (merge(verification_remove(1, address, NOW + 1, protocol)), False),
            (merge(verification(1, address, NOW + 2, protocol)), True),
        )
        row = goes_and_comes_back(replica, writer, "neynar.verifications", *states)
        assert (row.protocol, len(bytes(row.address))) == (number, 20 if number == 0 else 32)
        row = goes_and_comes_back(replica, writer, "dune.dataset_farcaster_verifications", *states)
        assert row.claim["address"] == address


def test_a_name_that_is_released_and_taken_again_is_one_row(replica: FoldedDatabase, writer: FoldSession) -> None:
    states = (
        (merge_proof(proof("alice", 1, NOW)), True),
        (merge_proof(proof("alice", 0, NOW + 1)), False),
        (merge_proof(proof("alice", 2, NOW + 2)), True),
    )
    row = goes_and_comes_back(replica, writer, "neynar.usernames", *states)
    assert (row.username, row.fid, row.type, bytes(row.custody_address)) == ("alice", 2, 1, bytes(19) + b"\2")


def test_a_removed_cast_keeps_its_id_and_moves(replica: FoldedDatabase, writer: FoldSession) -> None:
    cast = cast_add(1, "hello", embeds=[{"url": "https://a.b"}], mentions=[4], mentionsPositions=[0])
    for view in ("neynar.casts", "dune.dataset_farcaster_casts"):
        row = goes_and_comes_back(
            replica, writer, view, (merge(cast), True), (merge(cast_remove(1, cast["hash"])), False)
        )
        assert bytes(row.hash).hex() == cast["hash"][2:]
        assert (row.fid, row.text, row.embeds, row.mentions, row.root_parent_hash) == (1, None, None, None, None)


def test_links_of_other_types_are_no_follows(replica: FoldedDatabase, writer: FoldSession) -> None:
    fold(writer, 0, merge(link(1, 2, kind="block")), merge(link(1, 3)))
    assert [row.target_fid for row in replica.rows("SELECT * FROM neynar.follows")] == [3]
    assert [row.target_fid for row in replica.rows("SELECT * FROM dune.dataset_farcaster_links")] == [3]


def test_a_reply_moves_when_its_root_becomes_known_and_when_that_goes(
    replica: FoldedDatabase, writer: FoldSession
) -> None:
    root = cast_add(1, "root", parentUrl="https://channel")
    middle = cast_add(2, "middle", parentCastId={"fid": 1, "hash": root["hash"]})
    reply = cast_add(3, "reply", parentCastId={"fid": 2, "hash": middle["hash"]})
    other = cast_add(4, "other")
    copy = Copy(replica, "neynar.casts")

    def pulled() -> dict[str, tuple[str, str | None]]:
        found = {row.text: (bytes(row.root_parent_hash or b"").hex(), row.root_parent_url) for row in copy.pull()}
        assert copy.holds_all()
        return found

    def known(cast: Any) -> str:
        return cast["hash"][2:]

    fold(writer, 0, merge(reply), merge(other))
    assert pulled() == {"reply": (known(middle), None), "other": (known(other), None)}
    fold(writer, 1, merge(root))
    assert pulled() == {"root": (known(root), "https://channel")}
    fold(writer, 2, merge(middle))
    assert pulled() == {
        "middle": (known(root), "https://channel"),
        "reply": (known(root), "https://channel"),
    }
    fold(writer, 3, merge(cast_remove(1, root["hash"])))
    assert pulled() == {None: ("", None), "middle": (known(root), None), "reply": (known(root), None)}


def test_what_says_the_same_again_moves_nothing(replica: FoldedDatabase, writer: FoldSession) -> None:
    root = cast_add(1, "root")
    events = [merge(root), merge(cast_add(2, "reply", parentCastId={"fid": 1, "hash": root["hash"]}))]
    fold(writer, 0, *events)
    copy = Copy(replica, "neynar.casts")
    assert len(copy.pull()) == 2
    fold(writer, -1, *events)
    assert copy.pull() == []


def test_a_cast_moves_when_its_app_becomes_known(replica: FoldedDatabase, writer: FoldSession) -> None:
    copy = Copy(replica, "neynar.casts")
    fold(writer, 0, merge(cast_add(1)))
    assert [row.creator_app_fid for row in copy.pull()] == [None]
    metadata = bytes(31) + b"\x20" + (9152).to_bytes(32, "big")
    body = {
        "key": "0x" + "5a" * 32,
        "keyType": 1,
        "eventType": "SIGNER_EVENT_TYPE_ADD",
        "metadata": b64encode(metadata).decode(),
        "metadataType": 1,
    }
    fold(writer, 1, merge_chain(chain_event("signer", 1, body)))
    assert [row.creator_app_fid for row in copy.pull()] == [9152]
    assert [(row.app_fid, bytes(row.signer)) for row in replica.rows("SELECT * FROM neynar.signers")] == [
        (9152, b"\x5a" * 32)
    ]


def test_a_profile_moves_with_each_of_its_fields(replica: FoldedDatabase, writer: FoldSession) -> None:
    copy = Copy(replica, "neynar.profiles")
    fields = (
        ("BIO", "about", "bio", "about"),
        ("LOCATION", "geo:40.71,-74.01", "latitude", 40.71),
        ("LOCATION", "", "longitude", None),
        ("BANNER", "https://banner", "banner_url", "https://banner"),
        ("USER_DATA_PRIMARY_ADDRESS_ETHEREUM", ADDRESS, "primary_eth_address", bytes.fromhex(ADDRESS[2:])),
        ("PROFILE_TOKEN", "eip155:1/erc721:1", "token_uri", "eip155:1/erc721:1"),
        ("BIO", "", "bio", None),
    )
    for place, (kind, value, column, shown) in enumerate(fields):
        fold(writer, place, merge(user_data(1, kind, value, NOW + place)))
        (row,) = copy.pull()
        found = getattr(row, column)
        assert (round(found, 4) if isinstance(found, float) else found) == shown, kind
        assert copy.holds_all()
    assert len(copy.rows) == 1


def test_ids_are_the_same_in_a_replica_that_is_made_anew(replica: FoldedDatabase, writer: FoldSession) -> None:
    cast = cast_add(1)
    events = [
        merge(cast),
        merge(reaction(1, TARGET)),
        merge(link(1, 2)),
        merge(verification(1, ADDRESS)),
        merge(user_data(1, "BIO", "about")),
        merge_proof(proof("alice", 1, NOW)),
    ]
    views = [f"neynar.{name}" for name in ("casts", "reactions", "follows", "verifications", "profiles", "usernames")]
    views += [
        f"dune.dataset_farcaster_{name}" for name in ("casts", "reactions", "links", "verifications", "user_data")
    ]

    def ids() -> dict[str, list[str]]:
        return {view: [str(row.id) for row in replica.rows(f"SELECT id FROM {view}")] for view in views}

    fold(writer, 0, *events)
    before = ids()
    replica.empty()
    for place, event in enumerate(events):
        fold(writer, place, event)
    assert ids() == before
    assert all(before.values())
    # As they are in every release: whoever keeps a copy knows rows by them.
    (known,) = replica.rows("SELECT id::text FROM neynar.follows")
    assert known.id == "8a8d132d-0ead-f87b-3684-41caddea4f04"
