"""`gasless_keys`: what a hub says of the keys that were added without a contract event (protocol-tables 1.2, 1.3)."""

from typing import Final

from fc_pipeline.hub.wire import Signer
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index, Row
from fc_pipeline.tables.encoding import hex_bytes, unix_micros, unknown

__all__ = ["GASLESS_KEYS", "OFFCHAIN", "ONCHAIN", "listed"]

OFFCHAIN: Final = "SIGNER_SOURCE_OFFCHAIN"
ONCHAIN: Final = "SIGNER_SOURCE_ONCHAIN"
_KEY_BYTES: Final = 32

GASLESS_KEYS: Final = DataTable(
    name="gasless_keys",
    group="profiles",
    description=(
        "Keys added by a message (KEY_ADD, protocol V16), as a hub last listed them: no feed tells of them. One that a "
        "hub lists no more keeps its row, with the time at which that was seen."
    ),
    sql_example=(
        "SELECT app_fid, count(*) AS keys, count(*) FILTER (WHERE expires_at < now()) AS expired FROM gasless_keys\n"
        "WHERE removed_at IS NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 20;"
    ),
    key=("fid", "key"),
    columns=(
        Column("fid", ColumnType.BIGINT, "For whom the key signs", nullable=False),
        Column("key", ColumnType.BYTEA, "Ed25519 public key, 32 bytes", nullable=False),
        Column("key_type", ColumnType.INTEGER, "1: signs messages"),
        Column("app_fid", ColumnType.BIGINT, "App that asked for the key; null where the request names none"),
        Column("scopes", ColumnType.TEXTS, "Types of messages that it may sign, such as MESSAGE_TYPE_CAST_ADD"),
        Column("ttl_seconds", ColumnType.BIGINT, "It expires when it was not used for so long"),
        Column("nonce", ColumnType.BIGINT, "The user's nonce with which it was added"),
        Column("added_at", ColumnType.TIMESTAMP, "When the user says that it was added"),
        Column("last_used_at", ColumnType.TIMESTAMP, "Its last use as of `read_at`, at most 5 minutes too early"),
        Column(
            "expires_at", ColumnType.TIMESTAMP, "`last_used_at` + `ttl_seconds`: as of `read_at`, for use renews it"
        ),
        Column("read_at", ColumnType.TIMESTAMP, "When a hub listed it last"),
        Column(
            "removed_at",
            ColumnType.TIMESTAMP,
            "When a hub first did not list it: it was removed after `read_at`; null while listed, even if expired",
        ),
    ),
    indexes=(Index(("read_at",), where="removed_at IS NULL", serves="the keys that were read longest ago"),),
    comparison=Comparison.KEYS,
)


def listed(signer: Signer, version: int, read_at: int) -> Row:
    """An entry of `signersByFid` as read at a time (unix microseconds) → its row.

    Raises UnknownValue for one that is not of a message, ValueError for a key or scopes that there cannot be.
    """
    if signer.source != OFFCHAIN:
        raise unknown("source of a signer", signer.source)
    key = hex_bytes(signer.key)
    if len(key) != _KEY_BYTES:
        raise ValueError(f"key {signer.key[:80]!r} is not {_KEY_BYTES} bytes")
    if not signer.scopes:
        raise ValueError(f"gasless key {signer.key} without scopes")
    return (
        signer.fid,
        key,
        signer.keyType,
        signer.requestFid or None,
        signer.scopes,
        signer.ttl,
        signer.nonce,
        unix_micros(signer.addedAt),
        unix_micros(signer.lastUsedAt),
        unix_micros(signer.expiresAt),
        read_at,
        None,
        version,
        None,
    )
