"""`verifications`: addresses that an FID proved to own, by FID and address (hub-api 5.2, 7.1)."""

from fc_pipeline.hub.wire import Message, VerificationAddBody
from fc_pipeline.tables.columns import Column, ColumnType, DataTable, Index, Row
from fc_pipeline.tables.encoding import UnknownValue, base64_bytes, farcaster_micros, hex_bytes, key_text, named
from fc_pipeline.tables.message import DELETED_REASON, ENVELOPE, HASH, TIMESTAMP, Deletion, message_hash, tombstone

__all__ = ["VERIFICATIONS", "added", "gone"]

VERIFICATIONS = DataTable(
    name="verifications",
    description="Ethereum and Solana addresses that an FID proved to own.",
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
        DELETED_REASON,
    ),
    indexes=(Index(("address",)),),
)

_VERIFICATION_TYPES = (0, 1)  # plain account, contract (hub-api 5.2)
_PROTOCOLS = {"PROTOCOL_ETHEREUM": "ethereum", "PROTOCOL_SOLANA": "solana"}


def added(message: Message, version: int) -> Row:
    """VERIFICATION_ADD_ETH_ADDRESS (also Solana's, despite the name) → its live row."""
    body = message.data.verificationAddAddressBody or message.data.verificationAddEthAddressBody
    if body is None:
        raise ValueError("VERIFICATION_ADD without verificationAddAddressBody")
    return (
        message.data.fid,
        _address(body.address, body.protocol),
        named(_PROTOCOLS, body.protocol, "protocol"),
        farcaster_micros(message.data.timestamp),
        message_hash(message),
        base64_bytes(body.claimSignature or body.ethSignature),
        body.blockHash,
        _verification_type(body),
        body.chainId,
        hex_bytes(message.signer),
        base64_bytes(message.signature),
        None,
        version,
        None,
    )


def gone(message: Message, version: int, deletion: Deletion) -> Row:
    """VERIFICATION_REMOVE, or an add that was pruned, revoked or displaced → the tombstone of its key."""
    data = message.data
    body = data.verificationRemoveBody or data.verificationAddAddressBody or data.verificationAddEthAddressBody
    if body is None:
        raise ValueError(f"{data.type} without an address")
    return tombstone(VERIFICATIONS, (data.fid, _address(body.address, body.protocol)), version, deletion)


def _address(address: str, protocol: str) -> str:
    key_text(address, "address")
    return address if protocol == "PROTOCOL_SOLANA" else "0x" + hex_bytes(address).hex()


def _verification_type(body: VerificationAddBody) -> int:
    kind = body.type or body.verificationType
    if kind not in _VERIFICATION_TYPES:
        raise UnknownValue(f"unknown verification type {kind}")
    return kind
