"""`verifications`: addresses that an FID proved to own, by FID and address (hub-api 5.2, 7.1)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from fc_pipeline.base58 import base58_bytes
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message, MessageData, VerificationAddBody, VerificationRemoveBody
from fc_pipeline.tables.columnar import Rejects, base64_column, by_value, named_column
from fc_pipeline.tables.columns import (
    LIVENESS,
    ArrowArray,
    Column,
    ColumnType,
    DataTable,
    Index,
    Row,
    by_address_bytes,
    by_utc,
)
from fc_pipeline.tables.encoding import UnknownValue, hex_bytes, key_text, said_as
from fc_pipeline.tables.message import (
    APP_FID,
    DELETED_REASON,
    ENVELOPE,
    ENVELOPE_VALUES,
    HASH,
    TIMESTAMP,
    Adds,
    Deletion,
    Extract,
    envelope_of,
    live_rows,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["VERIFICATIONS", "VERIFICATION_SET"]

VERIFICATIONS = DataTable(
    name="verifications",
    description="Ethereum and Solana addresses that an FID proved to own.",
    sql_example=(
        "SELECT fid, protocol, address FROM verifications\nWHERE deleted_at IS NULL ORDER BY timestamp DESC LIMIT 20;"
    ),
    key=("fid", "address"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Owner", nullable=False),
        Column("address", ColumnType.TEXT, "0x-hex in lower case (Ethereum) or base58 (Solana)", nullable=False),
        Column("protocol", ColumnType.TEXT, "ethereum or solana"),
        TIMESTAMP,
        HASH,
        Column("claim_signature", ColumnType.BYTEA, "The address's signature over the claim"),
        Column("block_hash", ColumnType.TEXT, "Block named in the claim, encoded as the address"),
        Column("verification_type", ColumnType.INTEGER, "0 for a plain account, 1 for a contract"),
        Column("chain_id", ColumnType.BIGINT, "Chain of a contract; 0 for a plain account"),
        *ENVELOPE,
        APP_FID,
        DELETED_REASON,
    ),
    indexes=(
        Index(("address",), serves="users by address: `api.users_by_address`"),
        by_address_bytes("address", "neynar.verifications"),
        by_utc("updated_at"),
    ),
    statistics=(LIVENESS,),
)

_VERIFICATION_TYPES = (0, 1)  # plain account, contract (hub-api 5.2)
_PROTOCOLS = {"PROTOCOL_ETHEREUM": "ethereum", "PROTOCOL_SOLANA": "solana"}


def _extract(message: Message) -> Extract:
    """What the row of a VERIFICATION_ADD needs. Raises ValueError for one without its body."""
    body = _add_body(message.data)
    if body is None:
        raise ValueError("VERIFICATION_ADD without verificationAddAddressBody")
    return (*envelope_of(message), body)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """VERIFICATION_ADD_ETH_ADDRESSes (also Solana's, despite the name) → their live rows."""
    columns = adds.columns(ENVELOPE_VALUES + 1)
    bodies: tuple[VerificationAddBody, ...] = columns[ENVELOPE_VALUES]
    own: dict[str, ArrowArray] = {
        "address": by_value(bodies, _address, pa.string(), rejects),
        "protocol": named_column(_PROTOCOLS, [body.protocol for body in bodies], "protocol", rejects),
        "claim_signature": base64_column([body.claimSignature or body.ethSignature for body in bodies], rejects),
        "block_hash": pa.array([body.blockHash for body in bodies], type=pa.string()),
        "verification_type": by_value(bodies, _verification_type, pa.int32(), rejects),
        "chain_id": pa.array([body.chainId for body in bodies], type=pa.int64()),
    }
    return live_rows(VERIFICATIONS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _add_body(data: MessageData) -> VerificationAddBody | None:
    """The body under its new name or Hubble's."""
    return data.verificationAddAddressBody or data.verificationAddEthAddressBody


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """VERIFICATION_REMOVE, or an add that was pruned, revoked or displaced → the tombstone of its key."""
    data = message.data
    body = data.verificationRemoveBody or _add_body(data)
    if body is None:
        raise ValueError(f"{data.type} without an address")
    return tombstone(VERIFICATIONS, (data.fid, _address(body)), version, deletion)


def _address(body: VerificationAddBody | VerificationRemoveBody) -> str:
    address = key_text(body.address, "address")
    return address if body.protocol == "PROTOCOL_SOLANA" else "0x" + hex_bytes(address).hex()


def _verification_type(body: VerificationAddBody) -> int:
    kind = body.type or body.verificationType
    if kind not in _VERIFICATION_TYPES:
        raise UnknownValue(f"unknown verification type {kind}")
    return kind


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's VERIFICATION_ADD."""
    as_bytes = base58_bytes if row["protocol"] == "solana" else hex_bytes
    yield {
        "address": as_bytes(row["address"]),
        "claimSignature": row["claim_signature"],
        "blockHash": as_bytes(row["block_hash"]),
        "type": row["verification_type"],
        "chainId": row["chain_id"],
        "protocol": said_as(_PROTOCOLS, row["protocol"]),
    }


VERIFICATION_SET = MessageSet(
    table=VERIFICATIONS,
    # Also of Solana's addresses, despite the name.
    add_type="MESSAGE_TYPE_VERIFICATION_ADD_ETH_ADDRESS",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
    remove_type="MESSAGE_TYPE_VERIFICATION_REMOVE",
    removed=_tombstone,
    storage_type="VERIFICATIONS",
    list_by_fid=HubReads.verifications_by_fid,
    # From V21 every shard carries each one, and a shard that is not the FID's home prunes earlier ones at once.
    only_of_home_shard=True,
)
