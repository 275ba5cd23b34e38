"""`on_chain_events`: what contracts said of FIDs: registration, signers, storage, tiers, channels (hub-api 4.3)."""

from msgspec import Raw

from fc_pipeline.hub.wire import OnChainEvent
from fc_pipeline.tables.columns import Column, ColumnType, Comparison, DataTable, Index, Row
from fc_pipeline.tables.encoding import UnknownValue, hex_bytes, json_text, key_bytes, unix_micros

__all__ = ["ON_CHAIN_EVENTS", "merged"]

ON_CHAIN_EVENTS = DataTable(
    name="on_chain_events",
    description="Events of Farcaster's contracts. One that the hub does not list is deleted.",
    sql_example=(
        "SELECT type, count(*), max(block_timestamp) AS newest FROM on_chain_events\n"
        "WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 2 DESC;"
    ),
    key=("chain_id", "transaction_hash", "log_index"),
    columns=(
        Column("chain_id", ColumnType.BIGINT, "10 is OP Mainnet, 8453 is Base", nullable=False),
        Column("transaction_hash", ColumnType.BYTEA, "Transaction on that chain", nullable=False),
        Column("log_index", ColumnType.BIGINT, "Place of the log in its block", nullable=False),
        Column(
            "type",
            ColumnType.TEXT,
            "signer, signer_migrated, id_register, storage_rent, tier_purchase or channel_register",
            nullable=False,
        ),
        Column("fid", ColumnType.BIGINT, "Whom it concerns; 0 for some signer_migrated and channel_register"),
        Column("block_number", ColumnType.BIGINT, "Block on that chain"),
        Column("block_timestamp", ColumnType.TIMESTAMP, "Time of that block"),
        Column("body", ColumnType.JSONB, "The type's own fields, as the hub writes them"),
    ),
    indexes=(
        Index(("fid", "type"), serves="a user's contract events; the fold: profiles, keys, storage"),
        # Which channel an event is of, its label alone says; what is longer than 66 characters is no label.
        Index(
            ("body",),
            where="type = 'channel_register'",
            expressions=("lower(substr(body->>'label', 1, 66))",),
            serves="the fold: the registration of a channel",
        ),
    ),
    # Of no FID, and without them nobody knows a channel's name or address.
    kept_for_all=("type", "channel_register"),
    comparison=Comparison.CONTRACT_EVENTS,
)

_BODIES = {
    "EVENT_TYPE_SIGNER": ("signer", "signerEventBody"),
    "EVENT_TYPE_SIGNER_MIGRATED": ("signer_migrated", "signerMigratedEventBody"),
    "EVENT_TYPE_ID_REGISTER": ("id_register", "idRegisterEventBody"),
    "EVENT_TYPE_STORAGE_RENT": ("storage_rent", "storageRentEventBody"),
    "EVENT_TYPE_TIER_PURCHASE": ("tier_purchase", "tier_purchase_event_body"),
    "EVENT_TYPE_CHANNEL_REGISTER": ("channel_register", "channelRegisterEventBody"),
}


def merged(event: OnChainEvent, version: int) -> Row:
    """MERGE_ON_CHAIN_EVENT → its row."""
    if event.type not in _BODIES:
        raise UnknownValue(f"unknown on-chain event type {event.type[:80]!r}")
    name, body_key = _BODIES[event.type]
    body: Raw = getattr(event, body_key)
    return (
        event.chainId,
        key_bytes(hex_bytes(event.transactionHash), "transaction hash"),
        event.logIndex,
        name,
        event.fid,
        event.blockNumber,
        unix_micros(event.blockTimestamp),
        json_text(body),
        version,
        None,
    )
