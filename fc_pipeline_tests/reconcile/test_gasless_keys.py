"""Gasless keys as hubs list them: rows, what messages they attribute, how they are closed, and bad answers."""

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from fc_pipeline.hub.snapshot import KEYS_READ
from fc_pipeline.reconcile.outcome import Reconciled
from fc_pipeline.reconcile.reconciler import Reconciler
from fc_pipeline.reconcile.staging import FidSnapshot
from fc_pipeline_tests.support.events import (
    FIRST_HEIGHT,
    HOUR_UNIX,
    Event,
    Json,
    cast_add,
    chain_event,
    merge,
    merge_chain,
)
from fc_pipeline_tests.support.folded import FoldedDatabase
from fc_pipeline_tests.support.small_hub import Line, record_batch

FID, APP, OTHER_APP = 7, 9152, 309857
CAST = cast_add(FID)
KEY: Final = CAST["signer"]
READ_AT: Final = datetime(2026, 11, 28, 12, tzinfo=UTC)
KINDS = "kind, app_fid, scopes, ttl_seconds, removed_at IS NULL AS may_sign"
ADDED: Final = HOUR_UNIX - 600


def listed(**changed: Any) -> Json:
    """An entry of `signersByFid`, in the shape of the recorded node's."""
    used = changed.get("lastUsedAt", ADDED)
    entry = {
        "source": "SIGNER_SOURCE_OFFCHAIN",
        "key": KEY,
        "keyType": 1,
        "fid": FID,
        "addedAt": ADDED,
        "lastUsedAt": used,
        "ttl": 86_400,
        "expiresAt": used + 86_400,
        "scopes": ["MESSAGE_TYPE_CAST_ADD", "MESSAGE_TYPE_LINK_ADD"],
        "requestFid": APP,
        "nonce": 1,
    }
    return {name: value for name, value in {**entry, **changed}.items() if value is not None}


@dataclass(frozen=True)
class Reader:
    """Folds what a hub lists of FID into a database: a cast, contract events, keys."""

    replica: FoldedDatabase
    reconciler: Reconciler
    contract: list[Event] = field(default_factory=list[Event])

    def read(self, *entries: Json, height: int = 50, asked: bool = True) -> Reconciled:
        """A snapshot with these entries, as of a height; not `asked` of a hub that has no such endpoint."""
        at = READ_AT + timedelta(seconds=height)
        version = (FIRST_HEIGHT + height) << 14
        snapshot = FidSnapshot(FID, 1, version, version, at)
        chain = [event["mergeOnChainEventBody"]["onChainEvent"] for event in self.contract]
        records = [("casts", CAST), *(("on_chain_events", one) for one in chain)]
        records += [("gasless_keys", entry) for entry in entries]
        lines: list[Line] = [(kind, json.dumps(record).encode()) for kind, record in records]
        lines += [(KEYS_READ, b"")] if asked else []
        return self.reconciler.fold([snapshot], [record_batch(snapshot, lines)])

    def signers(self) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.replica.rows(f"SELECT {KINDS} FROM signers")]

    def app_of_cast(self) -> int | None:
        return self.replica.rows("SELECT app_fid FROM casts")[0].app_fid


@pytest.fixture
def reader(replica: FoldedDatabase) -> Iterator[Reader]:
    with Reconciler(replica.url, "keys") as reconciler:
        yield Reader(replica, reconciler)


GASLESS = ("gasless", APP, ["MESSAGE_TYPE_CAST_ADD", "MESSAGE_TYPE_LINK_ADD"], 86_400)


def test_a_listed_key_is_a_row_and_attributes_the_messages_that_waited_for_it(reader: Reader) -> None:
    reader.replica.fold([merge(CAST)])
    assert reader.app_of_cast() is None
    found = reader.read(listed())
    assert (found.drift, found.history) == ({}, {"gasless_keys": 1})
    assert reader.signers() == [(*GASLESS, True)]
    assert reader.app_of_cast() == APP
    (row,) = reader.replica.rows("SELECT * FROM gasless_keys")
    assert (row.nonce, row.key_type, row.key) == (1, 1, bytes.fromhex(KEY[2:]))
    times = [row.added_at, row.last_used_at, row.expires_at, row.read_at]
    second = timedelta(seconds=1)
    added = datetime.fromtimestamp(ADDED, UTC)
    assert times == [added, added, added + 86_400 * second, READ_AT + 50 * second]


def test_its_use_moves_the_row_and_is_no_difference(reader: Reader) -> None:
    reader.read(listed())
    again = reader.read(listed(lastUsedAt=ADDED + 400), height=60)
    assert (again.drift, again.history) == ({}, {})
    (row,) = reader.replica.rows("SELECT s.*, g.read_at FROM signers AS s JOIN gasless_keys AS g USING (fid, key)")
    assert row.last_used_at == datetime.fromtimestamp(ADDED + 400, UTC)
    assert row.expires_at == datetime.fromtimestamp(ADDED + 400 + 86_400, UTC)
    assert row.read_at == READ_AT + timedelta(seconds=60)


def test_what_replaces_it_is_one(reader: Reader) -> None:
    reader.read(listed())
    assert reader.read(listed(ttl=60, nonce=2), height=60).history == {"gasless_keys": 1}
    assert [row[3] for row in reader.signers()] == [60]


def test_a_key_that_is_listed_no_more_is_closed_and_its_messages_keep_their_app(reader: Reader) -> None:
    reader.replica.fold([merge(CAST)])
    reader.read(listed())
    reader.read(height=60)
    assert reader.signers() == [(*GASLESS, False)]
    removed = reader.replica.rows("SELECT removed_at, read_at, deleted_at FROM gasless_keys")
    assert removed == [(READ_AT + timedelta(seconds=60), READ_AT + timedelta(seconds=50), None)]
    assert reader.app_of_cast() == APP
    reader.read(height=70)
    assert reader.replica.rows("SELECT removed_at FROM gasless_keys") == [(READ_AT + timedelta(seconds=60),)]
    reader.read(listed(nonce=3), height=80)  # a fresh KEY_ADD of the same key
    assert reader.signers() == [(*GASLESS, True)]


def test_a_hub_without_the_endpoint_says_nothing_of_keys(reader: Reader) -> None:
    reader.read(listed())
    reader.read(height=60, asked=False)
    assert reader.signers() == [(*GASLESS, True)]


def test_an_older_snapshot_that_is_folded_later_changes_nothing(reader: Reader) -> None:
    reader.read(height=60)
    reader.read(listed(), height=70)
    reader.read(height=65)
    assert reader.signers() == [(*GASLESS, True)]


def request(app_fid: int) -> str:
    words = (32, app_fid, 0, 128, 0, 65)
    return b64encode(b"".join(word.to_bytes(32) for word in words) + bytes(96)).decode()


def registry(change: str, block: int) -> Event:
    """An event of the key registry for the same key, one day after that hour's begin and `block` seconds."""
    body = {"key": KEY, "keyType": 1, "eventType": f"SIGNER_EVENT_TYPE_{change}", "metadataType": 1}
    return merge_chain(chain_event("signer", FID, {**body, "metadata": request(OTHER_APP)}, block=block))


@pytest.mark.parametrize("keys_first", [True, False], ids=["keys first", "contract first"])
@pytest.mark.parametrize(
    ("changes", "is_listed", "expected"),
    [
        (["ADD"], True, ("onchain", OTHER_APP, None, None, True)),
        (["ADD", "REMOVE"], True, ("gasless", OTHER_APP, *GASLESS[2:], True)),
        (["REMOVE"], True, (*GASLESS, True)),
        (["ADD"], False, ("onchain", OTHER_APP, None, None, True)),
        (["ADD", "REMOVE"], False, ("gasless", OTHER_APP, *GASLESS[2:], False)),
    ],
    ids=["active in both", "removed from the registry", "only its removal", "only in the registry", "gone from both"],
)
def test_a_key_that_is_both_is_of_the_registry_while_it_is_there(
    reader: Reader, changes: list[str], is_listed: bool, expected: tuple[object, ...], keys_first: bool
) -> None:
    """Its app is the registry's where it ever had an add: messages before its removal are of it (protocol-tables 1.4).

    Of a key that is gone from both the one that went last counts.
    """
    reader.contract.extend(registry(change, 5 + n) for n, change in enumerate(changes))
    if not keys_first:
        reader.replica.fold(reader.contract)
    reader.read(listed())
    if not is_listed:
        reader.read(height=60)
    if keys_first:
        reader.replica.fold(reader.contract)
    assert reader.signers() == [expected]
    assert reader.app_of_cast() == expected[1]


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (listed(scopes=[]), "invalid", "without scopes"),
        (listed(scopes=None), "undecodable", "scopes"),
        (listed(key="no hex"), "invalid", "is not 0x-hex"),
        (listed(key="0x" + "ab" * 20), "invalid", "is not 32 bytes"),
        (listed(source="SIGNER_SOURCE_NEW"), "unknown_type", "unknown source of a signer"),
        (listed(source=None), "undecodable", "source"),
        (listed(fid=8), "invalid", "a record of FID 8 among the answers for FID 7"),
        (listed(requestFid=2**63), "undecodable", "requestFid"),
        (listed(expiresAt=2**62), "invalid", "beyond the year 9999"),
    ],
    ids=["no scopes", "scopes absent", "no hex", "short", "source", "no source", "another FID", "app", "time"],
)
def test_a_bad_entry_is_quarantined_alone_and_closes_no_key(
    reader: Reader, bad: Json, reason: str, detail: str
) -> None:
    reader.read(listed())
    other = listed(key="0x" + "ee" * 32)
    reader.read(bad, other, height=60)
    found = reader.replica.rows("SELECT source, fid, reason, detail FROM pipeline.quarantine")
    assert [(row.source, row.fid) for row in found] == [("gasless_keys", FID)]
    assert detail in found[0].detail
    assert found[0].reason == reason
    assert reader.replica.rows("SELECT count(*) FROM gasless_keys WHERE removed_at IS NULL") == [(2,)]
