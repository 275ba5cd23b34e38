"""Tables derived from contract events and casts, what is lent, and the apps of messages.

`ensure_schema` fills the derived ones from their sources.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_ATTRIBUTED = ("casts", "reactions", "links", "verifications", "user_data")
_APP_FID = "App that asked for the key which signed the message (signers.app_fid); null where none is known"


def upgrade() -> None:
    op.create_table(
        "embeds",
        sa.Column("hash", postgresql.BYTEA(), autoincrement=False, nullable=False, comment="The cast"),
        sa.Column(
            "position",
            sa.Integer(),
            autoincrement=False,
            nullable=False,
            comment="Place among the cast's embeds, from 0",
        ),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="Author of the cast"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the author says that the cast was made",
        ),
        sa.Column("url", sa.Text(), nullable=True, comment="The URL, where it is one"),
        sa.Column("cast_fid", sa.BigInteger(), nullable=True, comment="Author of the embedded cast, as the embed says"),
        sa.Column("cast_hash", postgresql.BYTEA(), nullable=True, comment="The embedded cast: a quote"),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("hash", "position"),
        comment="Embeds of live casts, in their order; gone with their cast.",
        schema="public",
    )
    op.create_index(
        "embeds_cast_hash_idx",
        "embeds",
        ["cast_hash"],
        postgresql_where=sa.text("cast_hash IS NOT NULL"),
        schema="public",
    )
    op.create_index("embeds_fid_idx", "embeds", ["fid"], schema="public")
    op.create_index(
        "embeds_url_timestamp_idx",
        "embeds",
        ["url", "timestamp"],
        postgresql_where=sa.text("url IS NOT NULL"),
        schema="public",
    )
    op.create_index(
        "embeds_version_idx",
        "embeds",
        ["version"],
        postgresql_using="brin",
        postgresql_ops={"version": "int8_minmax_multi_ops"},
        schema="public",
    )
    op.create_table(
        "signers",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="For whom the key signs"),
        sa.Column(
            "key",
            postgresql.BYTEA(),
            autoincrement=False,
            nullable=False,
            comment="Ed25519 public key, or an address of key_type 2",
        ),
        sa.Column("kind", sa.Text(), nullable=True, comment="onchain: of the key registry's events"),
        sa.Column(
            "key_type", sa.Integer(), nullable=True, comment="1 signs messages, 2 is an auth address, which signs none"
        ),
        sa.Column(
            "app_fid",
            sa.BigInteger(),
            nullable=True,
            comment="App that asked for the key; null where the request names none",
        ),
        sa.Column(
            "added_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When it was added; null if only its removal is known",
        ),
        sa.Column(
            "removed_at", sa.DateTime(timezone=True), nullable=True, comment="When it was removed; null: it may sign"
        ),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("fid", "key"),
        comment="Keys that may or might sign for an FID. A key that was removed keeps its row, with the time.",
        schema="public",
    )
    op.create_index(
        "signers_app_fid_idx", "signers", ["app_fid"], postgresql_where=sa.text("app_fid IS NOT NULL"), schema="public"
    )
    op.create_index("signers_key_idx", "signers", ["key"], schema="public")
    op.create_index(
        "signers_version_idx",
        "signers",
        ["version"],
        postgresql_using="brin",
        postgresql_ops={"version": "int8_minmax_multi_ops"},
        schema="public",
    )
    op.create_table(
        "storage_lends",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who lends"),
        sa.Column("to_fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who borrows"),
        sa.Column("units", sa.BigInteger(), nullable=True, comment="How many units"),
        sa.Column("unit_type", sa.Text(), nullable=True, comment="legacy, 2024 or 2025: how much a unit holds"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user says the message was made: a claim, which may be wrong",
        ),
        sa.Column("hash", postgresql.BYTEA(), nullable=True, comment="BLAKE3 hash of the message, 20 bytes"),
        sa.Column("signer", postgresql.BYTEA(), nullable=True, comment="Ed25519 public key that signed the message"),
        sa.Column("signature", postgresql.BYTEA(), nullable=True, comment="Signature over the hash"),
        sa.Column(
            "deleted_reason",
            sa.Text(),
            nullable=True,
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, not_target (of a name: its holder is no target), or reconciled with a snapshot that lacks it; null means live",
        ),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("fid", "to_fid"),
        comment="Who lends storage to whom; a lend lasts until the lender ends it. Only the feed tells of lends.",
        schema="public",
    )
    op.create_index("storage_lends_to_fid_idx", "storage_lends", ["to_fid"], schema="public")
    op.create_table(
        "storage_rents",
        sa.Column(
            "chain_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="10 is OP Mainnet, 8453 is Base"
        ),
        sa.Column(
            "transaction_hash",
            postgresql.BYTEA(),
            autoincrement=False,
            nullable=False,
            comment="Transaction on that chain",
        ),
        sa.Column(
            "log_index", sa.BigInteger(), autoincrement=False, nullable=False, comment="Place of the log in its block"
        ),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="For whom it was bought"),
        sa.Column("payer", sa.Text(), nullable=True, comment="Address that paid, 0x-hex"),
        sa.Column("units", sa.BigInteger(), nullable=True, comment="How many units"),
        sa.Column(
            "unit_type",
            sa.Text(),
            nullable=True,
            comment="legacy, 2024 or 2025: how much a unit holds, by when it was rented",
        ),
        sa.Column("rented_at", sa.DateTime(timezone=True), nullable=True, comment="Time of the event's block"),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the units end, by the network's rule, not the contract's",
        ),
        sa.Column("block_number", sa.BigInteger(), nullable=True, comment="Block on that chain"),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("chain_id", "transaction_hash", "log_index"),
        comment="Storage units that were rented, each lot with the time when it ends.",
        schema="public",
    )
    op.create_index("storage_rents_expires_at_idx", "storage_rents", ["expires_at"], schema="public")
    op.create_index("storage_rents_fid_unit_type_idx", "storage_rents", ["fid", "unit_type"], schema="public")
    op.create_index(
        "storage_rents_version_idx",
        "storage_rents",
        ["version"],
        postgresql_using="brin",
        postgresql_ops={"version": "int8_minmax_multi_ops"},
        schema="public",
    )
    op.create_table(
        "tier_purchases",
        sa.Column(
            "chain_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="10 is OP Mainnet, 8453 is Base"
        ),
        sa.Column(
            "transaction_hash",
            postgresql.BYTEA(),
            autoincrement=False,
            nullable=False,
            comment="Transaction on that chain",
        ),
        sa.Column(
            "log_index", sa.BigInteger(), autoincrement=False, nullable=False, comment="Place of the log in its block"
        ),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="For whom it was bought"),
        sa.Column("payer", sa.Text(), nullable=True, comment="Address that paid, 0x-hex"),
        sa.Column("tier_type", sa.Text(), nullable=True, comment="Pro; others have no meaning yet"),
        sa.Column("for_days", sa.BigInteger(), nullable=True, comment="How many days"),
        sa.Column("purchased_at", sa.DateTime(timezone=True), nullable=True, comment="Time of the event's block"),
        sa.Column("block_number", sa.BigInteger(), nullable=True, comment="Block on that chain"),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("chain_id", "transaction_hash", "log_index"),
        comment="Purchases of a tier; those of one FID follow each other (see pro_until of user_profiles).",
        schema="public",
    )
    op.create_index("tier_purchases_fid_idx", "tier_purchases", ["fid"], schema="public")
    op.create_index(
        "tier_purchases_version_idx",
        "tier_purchases",
        ["version"],
        postgresql_using="brin",
        postgresql_ops={"version": "int8_minmax_multi_ops"},
        schema="public",
    )
    op.add_column(
        "user_profiles",
        sa.Column(
            "pro_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When Pro ends that was bought for the FID; null: never bought",
        ),
        schema="public",
    )
    op.alter_column(
        "user_profiles",
        "primary_eth_address",
        existing_type=sa.TEXT(),
        comment="As set by the user, while verified, else the one verified first",
        existing_comment="As the user set it, else the address verified first",
        existing_nullable=True,
        schema="public",
    )
    op.alter_column(
        "user_profiles",
        "primary_sol_address",
        existing_type=sa.TEXT(),
        comment="As set by the user, while verified, else the one verified first",
        existing_comment="As the user set it, else the address verified first",
        existing_nullable=True,
        schema="public",
    )
    op.create_index(
        "user_profiles_version_idx",
        "user_profiles",
        ["version"],
        postgresql_using="brin",
        postgresql_ops={"version": "int8_minmax_multi_ops"},
        schema="public",
    )
    for table in _ATTRIBUTED:
        op.add_column(table, sa.Column("app_fid", sa.BigInteger(), nullable=True, comment=_APP_FID), schema="public")


def downgrade() -> None:
    for table in _ATTRIBUTED:
        op.drop_column(table, "app_fid", schema="public")
    op.execute("DROP VIEW IF EXISTS public.storage")
    op.drop_index("user_profiles_version_idx", "user_profiles", schema="public")
    op.drop_column("user_profiles", "pro_until", schema="public")
    for table in ("embeds", "signers", "storage_lends", "storage_rents", "tier_purchases"):
        op.drop_table(table, schema="public")
