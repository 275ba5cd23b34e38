"""The data tables, the coverage ledger, quarantine, leases and shards."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "casts",
        sa.Column(
            "hash",
            postgresql.BYTEA(),
            autoincrement=False,
            nullable=False,
            comment="BLAKE3 hash of the message, 20 bytes",
        ),
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Author"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user says the message was made: a claim, which may be wrong",
        ),
        sa.Column("text", sa.Text(), nullable=True, comment="Text without the @names of its mentions"),
        sa.Column("type", sa.Text(), nullable=True, comment="cast, long_cast or ten_k_cast, by length of text"),
        sa.Column("parent_fid", sa.BigInteger(), nullable=True, comment="Author of the cast replied to"),
        sa.Column("parent_hash", postgresql.BYTEA(), nullable=True, comment="Hash of the cast replied to"),
        sa.Column("parent_url", sa.Text(), nullable=True, comment="URL or channel replied to; any string"),
        sa.Column(
            "embeds",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment='List of {"url": …} and {"castId": {"fid": …, "hash": …}}',
        ),
        sa.Column(
            "embeds_deprecated",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="URLs embedded by casts before 2023-05-03; null otherwise",
        ),
        sa.Column("mentions", postgresql.ARRAY(sa.BigInteger()), nullable=True, comment="Mentioned FIDs"),
        sa.Column(
            "mentions_positions",
            postgresql.ARRAY(sa.Integer()),
            nullable=True,
            comment="Byte offset in the UTF-8 text of each mention",
        ),
        sa.Column("signer", postgresql.BYTEA(), nullable=True, comment="Ed25519 public key that signed the message"),
        sa.Column("signature", postgresql.BYTEA(), nullable=True, comment="Signature over the hash"),
        sa.Column(
            "deleted_reason",
            sa.Text(),
            nullable=True,
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
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
        sa.PrimaryKeyConstraint("hash", "fid"),
        comment="Posts. A removed, pruned or revoked cast stays as a tombstone without its content.",
        schema="public",
    )
    op.create_index(
        "casts_fid_timestamp_idx", "casts", ["fid", "timestamp"], unique=False, postgresql_where=None, schema="public"
    )
    op.create_index(
        "casts_parent_hash_idx",
        "casts",
        ["parent_hash"],
        unique=False,
        postgresql_where=sa.text("parent_hash IS NOT NULL"),
        schema="public",
    )
    op.create_index(
        "casts_parent_url_timestamp_idx",
        "casts",
        ["parent_url", "timestamp"],
        unique=False,
        postgresql_where=sa.text("parent_url IS NOT NULL"),
        schema="public",
    )
    op.create_table(
        "fid_activity",
        sa.Column(
            "hour", sa.DateTime(timezone=True), autoincrement=False, nullable=False, comment="Start of the hour, UTC"
        ),
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="The user"),
        sa.Column("casts", sa.BigInteger(), nullable=False, comment="Casts made, replies included"),
        sa.Column("replies", sa.BigInteger(), nullable=False, comment="Casts made in reply to a cast"),
        sa.Column("casts_removed", sa.BigInteger(), nullable=False, comment="Casts removed by their author"),
        sa.Column("likes", sa.BigInteger(), nullable=False, comment="Likes given"),
        sa.Column("recasts", sa.BigInteger(), nullable=False, comment="Recasts made"),
        sa.Column("follows", sa.BigInteger(), nullable=False, comment="Follows"),
        sa.Column("unfollows", sa.BigInteger(), nullable=False, comment="Unfollows"),
        sa.Column("likes_received", sa.BigInteger(), nullable=False, comment="Likes of casts of this FID"),
        sa.Column("recasts_received", sa.BigInteger(), nullable=False, comment="Recasts of casts of this FID"),
        sa.Column("replies_received", sa.BigInteger(), nullable=False, comment="Replies to casts of this FID"),
        sa.Column("follows_received", sa.BigInteger(), nullable=False, comment="New followers"),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("hour", "fid"),
        comment="What each FID did and received, per hour of block time.",
        schema="public",
    )
    op.create_index(
        "fid_activity_fid_hour_idx",
        "fid_activity",
        ["fid", "hour"],
        unique=False,
        postgresql_where=None,
        schema="public",
    )
    op.create_table(
        "links",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who follows"),
        sa.Column(
            "type", sa.Text(), autoincrement=False, nullable=False, comment="follow, block, … as the user wrote it"
        ),
        sa.Column("target_fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who is followed"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user says the message was made: a claim, which may be wrong",
        ),
        sa.Column(
            "display_timestamp",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Time to show instead, where the user gave one",
        ),
        sa.Column("hash", postgresql.BYTEA(), nullable=True, comment="BLAKE3 hash of the message, 20 bytes"),
        sa.Column("signer", postgresql.BYTEA(), nullable=True, comment="Ed25519 public key that signed the message"),
        sa.Column("signature", postgresql.BYTEA(), nullable=True, comment="Signature over the hash"),
        sa.Column(
            "deleted_reason",
            sa.Text(),
            nullable=True,
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
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
        sa.PrimaryKeyConstraint("fid", "type", "target_fid"),
        comment="Who follows (or blocks, …) whom.",
        schema="public",
    )
    op.create_index(
        "links_target_fid_type_idx",
        "links",
        ["target_fid", "type"],
        unique=False,
        postgresql_where=None,
        schema="public",
    )
    op.create_table(
        "on_chain_events",
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
        sa.Column(
            "type",
            sa.Text(),
            nullable=False,
            comment="signer, signer_migrated, id_register, storage_rent, tier_purchase or channel_register",
        ),
        sa.Column(
            "fid",
            sa.BigInteger(),
            nullable=True,
            comment="Whom it concerns; 0 for some signer_migrated and channel_register",
        ),
        sa.Column("block_number", sa.BigInteger(), nullable=True, comment="Block on that chain"),
        sa.Column("block_timestamp", sa.DateTime(timezone=True), nullable=True, comment="Time of that block"),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="The type's own fields, as the hub writes them",
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
        sa.PrimaryKeyConstraint("chain_id", "transaction_hash", "log_index"),
        comment="Events of Farcaster's contracts. Never deleted.",
        schema="public",
    )
    op.create_index(
        "on_chain_events_fid_type_idx",
        "on_chain_events",
        ["fid", "type"],
        unique=False,
        postgresql_where=None,
        schema="public",
    )
    op.create_table(
        "coverage",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("from_height", sa.BigInteger(), autoincrement=False, nullable=False, comment="First folded height"),
        sa.Column("to_height", sa.BigInteger(), nullable=False, comment="Last folded height, inclusive"),
        sa.Column("tables", postgresql.ARRAY(sa.Text()), nullable=False, comment="What these heights were written to"),
        sa.Column("partition", sa.Text(), nullable=False, comment="The hour, as Dagster's partition key"),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that folded it last"),
        sa.Column("events", sa.BigInteger(), nullable=False, comment="Events read"),
        sa.Column("confirmed_events", sa.BigInteger(), nullable=False, comment="Events that BLOCK_CONFIRMED announced"),
        sa.Column("rows_written", sa.BigInteger(), nullable=False, comment="Rows inserted, updated or deleted"),
        sa.Column(
            "last_block_at", sa.DateTime(timezone=True), nullable=False, comment="Time of the block at to_height"
        ),
        sa.Column(
            "last_block_hash",
            postgresql.BYTEA(),
            nullable=True,
            comment="Its hash, which a hub of the same network has too; null if unknown",
        ),
        sa.Column("committed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        postgresql.ExcludeConstraint(
            (sa.text("int8range((shard::bigint << 50) + from_height, (shard::bigint << 50) + to_height, '[]')"), "&&"),
            using="gist",
            name="coverage_no_overlap",
        ),
        sa.CheckConstraint("from_height <= to_height", name="coverage_range_check"),
        sa.PrimaryKeyConstraint("shard", "from_height"),
        schema="pipeline",
        comment="Ledger of folded height ranges: no overlap ever, and a hole is work to do.",
    )
    op.create_table(
        "leases",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("partition", sa.Text(), nullable=False, comment="The hour, as Dagster's partition key"),
        sa.Column("holder", sa.Text(), nullable=False, comment="Run and attempt that may write"),
        sa.Column("backend_pid", sa.Integer(), nullable=False, comment="Its Postgres session; gone means that it died"),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "planned_end_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when it means to write; null: until done",
        ),
        sa.PrimaryKeyConstraint("shard", "partition"),
        schema="pipeline",
        comment="Who may write which hour of which shard; checked inside every micro-batch's transaction.",
    )
    op.create_table(
        "link_compactions",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Whose links"),
        sa.Column("type", sa.Text(), nullable=False, comment="Link type"),
        sa.Column(
            "timestamp", sa.DateTime(timezone=True), nullable=False, comment="Links made up to this time are masked"
        ),
        sa.Column("scoped", sa.Boolean(), nullable=False, comment="Whether only links of this type are masked"),
        sa.Column("target_fids", postgresql.ARRAY(sa.BigInteger()), nullable=False, comment="Targets whose links stay"),
        sa.Column("compacted_at", sa.DateTime(timezone=True), nullable=False, comment="Block time"),
        sa.Column("hash", postgresql.BYTEA(), nullable=True, comment="Hash of the message"),
        sa.Column(
            "version",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
        sa.PrimaryKeyConstraint("fid", "version"),
        schema="pipeline",
        comment="Every LINK_COMPACT_STATE: links of the FID that are older and not in it are deleted.",
    )
    op.create_table(
        "quarantine",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="Or its predecessor's"),
        sa.Column(
            "raw_sha256", postgresql.BYTEA(), nullable=False, comment="Tells apart records whose id cannot be read"
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="undecodable, invalid, unknown_type, nul_removed or poison_page",
        ),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("raw", postgresql.BYTEA(), nullable=False, comment="The event as the hub sent it"),
        sa.Column("first_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "resolved_at", sa.DateTime(timezone=True), nullable=True, comment="When a replay folded it after all"
        ),
        sa.PrimaryKeyConstraint("shard", "event_id", "raw_sha256"),
        schema="pipeline",
        comment="Records set aside, with reason and raw bytes, counted and replayable.",
    )
    op.create_table(
        "shards",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin_height", sa.BigInteger(), nullable=False, comment="First height that the ledger must cover"),
        sa.Column("origin_at", sa.DateTime(timezone=True), nullable=False, comment="Time of that block"),
        sa.Column("shard_count", sa.Integer(), nullable=False, comment="Number of data shards of the network"),
        sa.PrimaryKeyConstraint("shard"),
        schema="pipeline",
        comment="Where the replica of each shard begins.",
    )
    op.create_table(
        "reactions",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who reacted"),
        sa.Column("type", sa.Text(), autoincrement=False, nullable=False, comment="like or recast"),
        sa.Column(
            "target",
            postgresql.BYTEA(),
            autoincrement=False,
            nullable=False,
            comment="The target in one value, for the key: 01, FID (8 bytes) and hash of a cast, or 02 and the URL's UTF-8",
        ),
        sa.Column("target_fid", sa.BigInteger(), nullable=True, comment="Author of the cast reacted to"),
        sa.Column("target_hash", postgresql.BYTEA(), nullable=True, comment="Hash of the cast reacted to"),
        sa.Column("target_url", sa.Text(), nullable=True, comment="URL reacted to; any string"),
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
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
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
        sa.PrimaryKeyConstraint("fid", "type", "target"),
        comment="Likes and recasts of casts and URLs.",
        schema="public",
    )
    op.create_index(
        "reactions_target_hash_idx",
        "reactions",
        ["target_hash"],
        unique=False,
        postgresql_where=sa.text("target_hash IS NOT NULL"),
        schema="public",
    )
    op.create_table(
        "user_data",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Whose profile"),
        sa.Column(
            "type",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="pfp, display, bio, url, username, location, twitter, github, banner, primary_address_ethereum, primary_address_solana, profile_token or live_at",
        ),
        sa.Column("value", sa.Text(), nullable=True, comment="The field's text; empty means cleared"),
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
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
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
        sa.PrimaryKeyConstraint("fid", "type"),
        comment="Profile fields as users set them; an empty value is a real one and means cleared.",
        schema="public",
    )
    op.create_table(
        "user_profiles",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="The user"),
        sa.Column(
            "username", sa.Text(), nullable=True, comment="Name that the user shows; its proof is in username_proofs"
        ),
        sa.Column("display_name", sa.Text(), nullable=True, comment="Display name"),
        sa.Column("bio", sa.Text(), nullable=True, comment="Bio"),
        sa.Column("pfp_url", sa.Text(), nullable=True, comment="Profile picture"),
        sa.Column("url", sa.Text(), nullable=True, comment="Web site"),
        sa.Column("location", sa.Text(), nullable=True, comment="geo:LAT,LON"),
        sa.Column("twitter", sa.Text(), nullable=True, comment="X account"),
        sa.Column("github", sa.Text(), nullable=True, comment="GitHub account"),
        sa.Column("banner_url", sa.Text(), nullable=True, comment="Banner picture"),
        sa.Column(
            "primary_eth_address",
            sa.Text(),
            nullable=True,
            comment="As the user set it, else the address verified first",
        ),
        sa.Column(
            "primary_sol_address",
            sa.Text(),
            nullable=True,
            comment="As the user set it, else the address verified first",
        ),
        sa.Column("custody_address", sa.Text(), nullable=True, comment="Address that owns the FID, 0x-hex"),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=True, comment="When the FID was registered"),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Time of the newest message or contract event behind the row",
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
        sa.PrimaryKeyConstraint("fid"),
        comment="One row per FID: what an app shows of a user.",
        schema="public",
    )
    op.create_index(
        "user_profiles_username_idx",
        "user_profiles",
        ["username"],
        unique=False,
        postgresql_where=sa.text("username IS NOT NULL"),
        schema="public",
    )
    op.create_table(
        "username_proofs",
        sa.Column("name", sa.Text(), autoincrement=False, nullable=False, comment="The name, as it is shown"),
        sa.Column("type", sa.Text(), autoincrement=False, nullable=False, comment="fname, ens or basename"),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="Holder; null for a released name"),
        sa.Column("owner", sa.Text(), nullable=True, comment="Address that owns the name, 0x-hex"),
        sa.Column("timestamp", sa.DateTime(timezone=True), nullable=False, comment="When the proof was made"),
        sa.Column(
            "hash",
            postgresql.BYTEA(),
            nullable=True,
            comment="Hash of the proof's message; null for an fname, which is no message",
        ),
        sa.Column("signature", postgresql.BYTEA(), nullable=True, comment="The owner's signature"),
        sa.Column(
            "precedence",
            postgresql.BYTEA(),
            nullable=False,
            comment="Decides between proofs of equal time, higher wins: the message's hash, or an fname's signature",
        ),
        sa.Column(
            "deleted_reason",
            sa.Text(),
            nullable=True,
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
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
        sa.PrimaryKeyConstraint("name", "type"),
        comment="The holder of each fname, ENS name and Basename: the proof with the newest time.",
        schema="public",
    )
    op.create_index(
        "username_proofs_fid_idx", "username_proofs", ["fid"], unique=False, postgresql_where=None, schema="public"
    )
    op.create_table(
        "verifications",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Owner"),
        sa.Column(
            "address",
            sa.Text(),
            autoincrement=False,
            nullable=False,
            comment="0x-hex in lower case (Ethereum) or base58 (Solana)",
        ),
        sa.Column("protocol", sa.Text(), nullable=True, comment="ethereum or solana"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the user says the message was made: a claim, which may be wrong",
        ),
        sa.Column("hash", postgresql.BYTEA(), nullable=True, comment="BLAKE3 hash of the message, 20 bytes"),
        sa.Column(
            "claim_signature", postgresql.BYTEA(), nullable=True, comment="The address's signature over the claim"
        ),
        sa.Column("block_hash", sa.Text(), nullable=True, comment="Block named in the claim, encoded as the address"),
        sa.Column("verification_type", sa.Integer(), nullable=True, comment="0 for a plain account, 1 for a contract"),
        sa.Column("chain_id", sa.BigInteger(), nullable=True, comment="Chain of a contract; 0 for a plain account"),
        sa.Column("signer", postgresql.BYTEA(), nullable=True, comment="Ed25519 public key that signed the message"),
        sa.Column("signature", postgresql.BYTEA(), nullable=True, comment="Signature over the hash"),
        sa.Column(
            "deleted_reason",
            sa.Text(),
            nullable=True,
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted or released; null means live",
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
        sa.PrimaryKeyConstraint("fid", "address"),
        comment="Ethereum and Solana addresses that an FID proved to own.",
        schema="public",
    )
    op.create_index(
        "verifications_address_idx", "verifications", ["address"], unique=False, postgresql_where=None, schema="public"
    )
