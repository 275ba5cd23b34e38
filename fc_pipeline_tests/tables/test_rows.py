"""Every row builder gives a row of its table: as many columns, of the right types, and what the message says."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from fc_pipeline.hub.decode import decode_events
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, Message
from fc_pipeline.tables import link_compactions, on_chain_events
from fc_pipeline.tables.casts import CAST_SET
from fc_pipeline.tables.columnar import Rejects
from fc_pipeline.tables.columns import DataTable, Row
from fc_pipeline.tables.link_compactions import LINK_COMPACTIONS, SCOPED_SINCE
from fc_pipeline.tables.links import LINK_SET
from fc_pipeline.tables.message import Adds, Deletion
from fc_pipeline.tables.message_set import MessageSet
from fc_pipeline.tables.reactions import REACTION_SET
from fc_pipeline.tables.registry import DATA_TABLES, MESSAGE_TABLES
from fc_pipeline.tables.user_data import USER_DATA_SET
from fc_pipeline.tables.username_proofs import USERNAME_PROOFS, proved
from fc_pipeline.tables.verifications import VERIFICATION_SET
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Event,
    Json,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    decoded,
    link,
    merge_chain,
    merge_proof,
    message,
    proof,
    proof_message,
    raw,
    reaction,
    verification,
    verification_remove,
)
from fc_pipeline_tests.support.events import (
    user_data as user_data_add,
)

VERSION = 77
GONE = Deletion(1_700_000_000_000_000, "pruned")
MICROS = (NOW + FARCASTER_EPOCH_UNIX) * 1_000_000


def as_dict(table: DataTable, row: Row) -> dict[str, Any]:
    """The row by column name, after a round trip through Arrow, which refuses what the schema does not hold."""
    assert len(row) == len(table.columns)
    arrow = table.arrow([row])
    assert arrow.schema == table.arrow_schema
    named = dict(zip(table.names, row, strict=True))
    nulls = {name for name, value in named.items() if value is None}
    assert {name for name in table.names if arrow[name].null_count} == nulls
    required = {c.name for c in table.columns if not c.nullable} | set(table.key)
    assert not nulls & required, "a key or required column is null"
    return named


def added_row(message_set: MessageSet, message_json: Json, version: int) -> Row:
    """The row of one message, through the columns of a list of one; times as microseconds."""
    added = decoded(message_json)
    rejects = Rejects()
    rows = message_set.to_arrow(Adds([message_set.extract(added)], [version]), rejects)
    assert not rejects.reasons
    assert rows.schema == message_set.table.arrow_schema
    plain = [pa.int64() if pa.types.is_timestamp(column.type) else column.type for column in rows.columns]
    return tuple(column.cast(kind)[0].as_py() for column, kind in zip(rows.columns, plain, strict=True))


ADDED: dict[str, tuple[MessageSet, Json, dict[str, Any]]] = {
    "cast": (
        CAST_SET,
        cast_add(
            1,
            "héllo",
            mentions=[5],
            mentionsPositions=[2],
            parentCastId={"fid": 2, "hash": "0x" + "02" * 20},
            embeds=[{"url": "u"}],
            embedsDeprecated=["old"],
            type="LONG_CAST",
        ),
        {
            "fid": 1,
            "text": "héllo",
            "type": "long_cast",
            "parent_fid": 2,
            "parent_hash": b"\x02" * 20,
            "parent_url": None,
            "embeds": '[{"url":"u"}]',
            "embeds_deprecated": ["old"],
            "mentions": [5],
            "mentions_positions": [2],
        },
    ),
    "cast to a URL": (
        CAST_SET,
        cast_add(1, "", parentUrl="chain://x"),
        {"text": "", "parent_url": "chain://x", "parent_hash": None, "embeds": "[]", "embeds_deprecated": None},
    ),
    "like": (
        REACTION_SET,
        reaction(1, (2, "0x" + "02" * 20)),
        {
            "type": "like",
            "target": b"\x01" + (2).to_bytes(8, "big") + b"\x02" * 20,
            "target_fid": 2,
            "target_hash": b"\x02" * 20,
            "target_url": None,
        },
    ),
    "recast of a URL": (
        REACTION_SET,
        reaction(1, "https://é", "RECAST"),
        {"type": "recast", "target": b"\x02" + "https://é".encode(), "target_url": "https://é", "target_fid": None},
    ),
    "link": (
        LINK_SET,
        message("LINK_ADD", 1, NOW, {"linkBody": {"type": "follow", "displayTimestamp": 0, "targetFid": 2}}),
        {"type": "follow", "target_fid": 2, "display_timestamp": FARCASTER_EPOCH_UNIX * 1_000_000},
    ),
    "verification": (
        VERIFICATION_SET,
        verification(1, "0x" + "AB" * 20, type=1, chainId=10),
        {
            "address": "0x" + "ab" * 20,
            "protocol": "ethereum",
            "claim_signature": b"c" * 65,
            "verification_type": 1,
            "chain_id": 10,
        },
    ),
    "solana": (
        VERIFICATION_SET,
        verification(1, "9WzDXwBb", protocol="SOLANA"),
        {"address": "9WzDXwBb", "protocol": "solana", "verification_type": 0},
    ),
    "Hubble's verification": (
        VERIFICATION_SET,
        message(
            "VERIFICATION_ADD_ETH_ADDRESS",
            1,
            NOW,
            {"verificationAddEthAddressBody": {"address": "0xab", "ethSignature": "YQ==", "verificationType": 1}},
        ),
        {"address": "0xab", "protocol": "ethereum", "claim_signature": b"a", "verification_type": 1},
    ),
    "field": (
        USER_DATA_SET,
        user_data_add(1, "USER_DATA_PRIMARY_ADDRESS_SOLANA", ""),
        {"type": "primary_address_solana", "value": ""},
    ),
}


@pytest.mark.parametrize("case", ADDED)
def test_an_added_message_becomes_its_live_row(case: str) -> None:
    message_set, message_json, expected = ADDED[case]
    row = as_dict(message_set.table, added_row(message_set, message_json, VERSION))
    assert {name: row[name] for name in expected} == expected
    assert (row["fid"], row["timestamp"], row["version"]) == (1, MICROS, VERSION)
    assert (row["deleted_at"], row["deleted_reason"]) == (None, None)
    assert row["hash"] == bytes.fromhex(message_json["hash"][2:])
    assert (row["signer"], row["signature"]) == (b"\x5a" * 32, b"s" * 64)


TOMBSTONES: dict[str, tuple[MessageSet, Callable[[Message, int, Deletion], Row] | None, Json, Json]] = {
    "cast": (CAST_SET, CAST_SET.tombstone, cast_add(1), cast_add(1)),
    "removed cast": (CAST_SET, CAST_SET.removed, cast_remove(1, cast_add(1)["hash"]), cast_add(1)),
    "reaction": (REACTION_SET, REACTION_SET.tombstone, reaction(1, "u", add=False), reaction(1, "u")),
    "link": (LINK_SET, LINK_SET.tombstone, link(1, 2, add=False), link(1, 2)),
    "verification": (
        VERIFICATION_SET,
        VERIFICATION_SET.tombstone,
        verification_remove(1, "0x" + "AB" * 20),
        verification(1, "0x" + "ab" * 20),
    ),
    "pruned verification": (
        VERIFICATION_SET,
        VERIFICATION_SET.tombstone,
        verification(1, "0x" + "AB" * 20),
        verification(1, "0x" + "ab" * 20),
    ),
    "field": (USER_DATA_SET, USER_DATA_SET.tombstone, user_data_add(1, "BIO", "x"), user_data_add(1, "BIO", "y")),
}


@pytest.mark.parametrize("case", TOMBSTONES)
def test_a_tombstone_has_the_key_of_its_add_and_no_content(case: str) -> None:
    message_set, tombstone, going, add = TOMBSTONES[case]
    table = message_set.table
    assert tombstone is not None
    row = as_dict(table, tombstone(decoded(going), VERSION, GONE))
    live = as_dict(table, added_row(message_set, add, 1))
    assert [row[name] for name in table.key] == [live[name] for name in table.key]
    kept = {*table.key, "fid", "version", "deleted_at", "deleted_reason"}
    assert {name for name, value in row.items() if value is not None} == kept
    assert (row["version"], row["deleted_at"], row["deleted_reason"]) == (VERSION, GONE.deleted_at, "pruned")


@pytest.mark.parametrize(("timestamp", "scoped"), [(SCOPED_SINCE - 1, False), (SCOPED_SINCE, True)])
def test_a_compact_state_is_scoped_since_v19(timestamp: int, *, scoped: bool) -> None:
    state = decoded(compact_state(1, [3, 2], timestamp, "block"))
    row = as_dict(LINK_COMPACTIONS, link_compactions.merged(state, VERSION, 5))
    assert (row["type"], row["scoped"], row["target_fids"], row["compacted_at"]) == ("block", scoped, [3, 2], 5)


def proof_row(event: Event) -> dict[str, Any]:
    _, events, undecodable = decode_events([raw(event, 1, 1)])
    assert not undecodable
    body = events[0].mergeUsernameProofBody
    assert body is not None
    return as_dict(USERNAME_PROOFS, proved(body, VERSION, 5))


def test_proofs() -> None:
    ens = proof("a.eth", 1, HOUR_UNIX, "ENS_L1")
    ens_hash = bytes.fromhex(proof_message(ens)["hash"][2:])
    fname = proof_row(merge_proof(proof("a", 1, HOUR_UNIX)))
    assert (fname["type"], fname["fid"], fname["hash"], fname["precedence"]) == ("fname", 1, None, b"p" * 65)
    named = proof_row(merge_proof(ens))
    assert (named["type"], named["hash"], named["precedence"]) == ("ens", ens_hash, ens_hash)
    assert (named["timestamp"], named["deleted_at"]) == (HOUR_UNIX * 1_000_000, None)
    gone = proof_row(merge_proof(None, ens))
    assert (gone["fid"], gone["deleted_reason"], gone["deleted_at"], gone["precedence"]) == (
        None,
        "revoked",
        5,
        ens_hash,
    )
    released = proof_row(merge_proof(proof("a", 0, HOUR_UNIX)))
    assert (released["fid"], released["owner"], released["deleted_reason"]) == (None, None, "released")
    assert proof_row(merge_proof(proof("b.base.eth", 1, HOUR_UNIX, "BASENAME")))["type"] == "basename"


def test_contract_events() -> None:
    def row(event: Json) -> dict[str, Any]:
        _, events, undecodable = decode_events([raw(merge_chain(event), 1, 1)])
        assert not undecodable
        body = events[0].mergeOnChainEventBody
        assert body is not None
        return as_dict(on_chain_events.ON_CHAIN_EVENTS, on_chain_events.merged(body.onChainEvent, VERSION))

    found = row(chain_event("id_register", 1, {"to": "0xab"}, block=7, log_index=3))
    assert (found["chain_id"], found["log_index"], found["block_number"], found["fid"]) == (10, 3, 7, 1)
    assert (found["type"], found["body"]) == ("id_register", '{"to":"0xab"}')
    assert len(found["transaction_hash"]) == 32
    tier = {**chain_event("signer", 1), "type": "EVENT_TYPE_TIER_PURCHASE"}
    assert row(tier)["body"] is None
    assert row({**tier, "tier_purchase_event_body": {"for_days": 30}})["body"] == '{"for_days":30}'


def test_a_table_of_no_rows_has_the_schema() -> None:
    for table in (*DATA_TABLES.values(), LINK_COMPACTIONS):
        assert table.arrow([]).schema == table.arrow_schema
        assert table.arrow([]).num_rows == 0


def test_declarations_hold_together() -> None:
    for name, table in DATA_TABLES.items():
        assert table.name == name
        assert len(set(table.names)) == len(table.names)
        assert set(table.key) | set(table.order) <= set(table.names)
        assert table.names[-2:] == ("version", "deleted_at")
        plain = [index for index in table.indexes if index.expressions is None]
        assert {c for index in plain for c in index.columns} <= {c.name for c in table.shown_columns}
        assert all(column.description for column in table.columns)
        assert tuple(c.name for c in table.sql.columns) == tuple(c.name for c in table.shown_columns)
        assert [table.sql.c[c.name].nullable for c in table.columns if c.name not in table.key] == [
            c.nullable for c in table.columns if c.name not in table.key
        ]
    assert set(MESSAGE_TABLES) < set(DATA_TABLES)


def test_every_column_type_knows_its_name_in_postgres() -> None:
    names = {column.type.name: column.type.postgres for table in DATA_TABLES.values() for column in table.columns}
    assert names["TIMESTAMP"] == "timestamp with time zone"
    assert (names["BIGINTS"], names["JSONB"], names["BYTEA"]) == ("bigint[]", "jsonb", "bytea")
