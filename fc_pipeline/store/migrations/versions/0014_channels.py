"""Channels: their members, pins, moderations, settings and followers, and who owns them.

`ensure_schema` fills `channels` and `channel_follows` from their sources.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLES = (
    "channel_follows",
    "channel_members",
    "channel_moderations",
    "channel_pins",
    "channel_settings",
    "channels",
)


def upgrade() -> None:
    op.create_table(
        "channel_settings",
        _channel_id(),
        *_settings(),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="Who set it: the owner at that time"),
        *_message(),
        *_version(),
        sa.PrimaryKeyConstraint("channel_id"),
        comment="What the owner set last, as a whole: a field that an update leaves out is unset.",
        schema="public",
    )
    op.create_table(
        "channel_members",
        _channel_id(),
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="The member"),
        sa.Column("state", sa.Text(), nullable=True, comment="member, moderator, removed or banned"),
        sa.Column(
            "author_fid", sa.BigInteger(), nullable=True, comment="By whom; the member itself if it joined or left"
        ),
        *_message(),
        *_version(),
        sa.PrimaryKeyConstraint("channel_id", "fid"),
        comment="What each user is to a channel by the last action on them. The owner needs no row, and may have none.",
        schema="public",
    )
    op.create_table(
        "channel_pins",
        _channel_id(),
        sa.Column(
            "cast_hash",
            postgresql.BYTEA(),
            nullable=True,
            comment="The cast, which need not exist; null: nothing is pinned",
        ),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="Who pinned or unpinned"),
        *_message(),
        *_version(),
        sa.PrimaryKeyConstraint("channel_id"),
        comment="The pinned cast of each channel that ever had one.",
        schema="public",
    )
    op.create_table(
        "channel_moderations",
        _channel_id(),
        sa.Column(
            "cast_hash",
            postgresql.BYTEA(),
            autoincrement=False,
            nullable=False,
            comment="The cast, which need not exist",
        ),
        sa.Column("action", sa.Text(), nullable=True, comment="hide or unhide"),
        sa.Column("fid", sa.BigInteger(), nullable=True, comment="Who moderated"),
        *_message(),
        *_version(),
        sa.PrimaryKeyConstraint("channel_id", "cast_hash"),
        comment="The last word of a channel's owner or moderators on a cast: hidden, or shown again.",
        schema="public",
    )
    _create_derived()
    _create_indexes()


def _create_derived() -> None:
    op.create_table(
        "channels",
        _channel_id(),
        sa.Column(
            "channel_key",
            sa.Text(),
            nullable=True,
            comment="The channel's name, verbatim: names that differ in case are two",
        ),
        sa.Column(
            "owner_address",
            sa.Text(),
            nullable=True,
            comment="Address that the contract gives the channel to, 0x-hex",
        ),
        sa.Column(
            "fid",
            sa.BigInteger(),
            nullable=True,
            comment="Owner: of the FIDs that verified this address the one whose verification is the newest; null "
            "while the channel is parked",
        ),
        sa.Column("registered_at", sa.DateTime(timezone=True), nullable=True, comment="When it was first registered"),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Until when it is paid for; null beyond the year 5000",
        ),
        *_settings(),
        *_version(),
        sa.PrimaryKeyConstraint("channel_id"),
        comment="Channels that were ever registered. Expiry changes nothing by itself: a channel that is over keeps "
        "its owner and works on until somebody registers it again.",
        schema="public",
    )
    op.create_table(
        "channel_follows",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who follows"),
        _channel_id(),
        sa.Column(
            "followed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When, as the user says: the time of the like",
        ),
        sa.Column("hash", postgresql.BYTEA(), nullable=True, comment="BLAKE3 hash of the message, 20 bytes"),
        *_version(),
        sa.PrimaryKeyConstraint("fid", "channel_id"),
        comment="Who follows which channel, registered or not: a live like of the channel's asset. Only the registrar "
        "of the test and development networks is known; mainnet has none yet.",
        schema="public",
    )


def _create_indexes() -> None:
    for table, column in (
        ("channel_follows", "channel_id"),
        ("channel_members", "author_fid"),
        ("channel_members", "fid"),
        ("channel_moderations", "cast_hash"),
        ("channel_moderations", "fid"),
        ("channel_pins", "fid"),
        ("channel_settings", "fid"),
        ("channels", "channel_key"),
        ("channels", "owner_address"),
    ):
        op.create_index(f"{table}_{column}_idx", table, [column], schema="public")
    op.create_index(
        "channels_fid_idx", "channels", ["fid"], postgresql_where=sa.text("fid IS NOT NULL"), schema="public"
    )
    for table in ("channel_follows", "channels"):
        op.create_index(
            f"{table}_version_idx",
            table,
            ["version"],
            postgresql_using="brin",
            postgresql_ops={"version": "int8_minmax_multi_ops"},
            schema="public",
        )
    op.create_index(
        "on_chain_events_body_idx",
        "on_chain_events",
        [sa.text("lower(substr(body->>'label', 1, 66))")],
        postgresql_where=sa.text("type = 'channel_register'"),
        schema="public",
    )


def _channel_id() -> sa.Column[Any]:
    return sa.Column(
        "channel_id",
        postgresql.BYTEA(),
        autoincrement=False,
        nullable=False,
        comment="The channel: keccak256 of its name, 32 bytes",
    )


def _settings() -> list[sa.Column[Any]]:
    comments = {
        "name": "Title to show; null where unset, as in the four that follow",
        "description": "What the channel is about",
        "image_url": "Its picture; any string",
        "header": "Its header; any string",
        "rules": "Its rules",
        "casting_mode": "everyone, members_only or recommended: advice that nothing enforces",
        "membership_mode": "open: whoever likes may join; approval: owner or moderators add",
    }
    return [sa.Column(name, sa.Text(), nullable=True, comment=comment) for name, comment in comments.items()]


def _message() -> list[sa.Column[Any]]:
    return [
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
            comment="Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, not_target (of "
            "a name: its holder is no target), or reconciled with a snapshot that lacks it; null means live",
        ),
    ]


def _version() -> list[sa.Column[Any]]:
    return [
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at", sa.DateTime(timezone=True), nullable=True, comment="When the row was deleted; null means live"
        ),
    ]


def downgrade() -> None:
    op.drop_index("on_chain_events_body_idx", "on_chain_events", schema="public")
    for table in _TABLES:
        op.drop_table(table, schema="public")
