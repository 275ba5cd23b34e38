"""Gasless keys, beside those of the key registry in `signers`.

`ensure_schema` derives `signers` again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_SIGNERS = (
    "Keys that may or might sign for an FID. A key that was removed keeps its row, with the time. Of gasless keys, "
    "which no feed tells of, it has what a hub said when it was asked last: see `gasless_keys`."
)
_EARLIER_SIGNERS = "Keys that may or might sign for an FID. A key that was removed keeps its row, with the time."
_CHANGED = {
    "kind": (
        "onchain: of the key registry's events",
        "onchain: of the key registry's events; gasless: added by a message. A key that is both is onchain while the "
        "registry has it",
    ),
    "app_fid": (
        "App that asked for the key; null where the request names none",
        "App that asked for the key, in the registry if it ever was there; null where the request names none",
    ),
    "removed_at": (
        "When it was removed; null: it may sign",
        "When it was removed, of a gasless key: when a hub first did not list it; null: it may sign until it expires",
    ),
}


def upgrade() -> None:
    op.create_table(
        "gasless_keys",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="For whom the key signs"),
        sa.Column(
            "key", postgresql.BYTEA(), autoincrement=False, nullable=False, comment="Ed25519 public key, 32 bytes"
        ),
        sa.Column("key_type", sa.Integer(), nullable=True, comment="1: signs messages"),
        sa.Column(
            "app_fid",
            sa.BigInteger(),
            nullable=True,
            comment="App that asked for the key; null where the request names none",
        ),
        sa.Column(
            "scopes",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="Types of messages that it may sign, such as MESSAGE_TYPE_CAST_ADD",
        ),
        sa.Column("ttl_seconds", sa.BigInteger(), nullable=True, comment="It expires when it was not used for so long"),
        sa.Column("nonce", sa.BigInteger(), nullable=True, comment="The user's nonce with which it was added"),
        sa.Column(
            "added_at", sa.DateTime(timezone=True), nullable=True, comment="When the user says that it was added"
        ),
        sa.Column(
            "last_used_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Its last use as of `read_at`, at most 5 minutes too early",
        ),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="`last_used_at` + `ttl_seconds`: as of `read_at`, for use renews it",
        ),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True, comment="When a hub listed it last"),
        sa.Column(
            "removed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When a hub first did not list it: it was removed after `read_at`; null while listed, even if "
            "expired",
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
        comment="Keys added by a message (KEY_ADD, protocol V16), as a hub last listed them: no feed tells of them. "
        "One that a hub lists no more keeps its row, with the time at which that was seen.",
        schema="public",
    )
    op.create_index(
        "gasless_keys_read_at_idx",
        "gasless_keys",
        ["read_at"],
        postgresql_where=sa.text("removed_at IS NULL"),
        schema="public",
    )
    _add_to_signers()


def _add_to_signers() -> None:
    comments = {
        "scopes": "Types of messages that a gasless key may sign; null of others: all",
        "ttl_seconds": "A gasless key expires when it was not used for so long; else null",
        "last_used_at": "Last use of a gasless key that a hub told of; null of others: unknown",
        "expires_at": "When a gasless key expires, if it was not used since it was read last; null: never",
    }
    types = {"scopes": postgresql.ARRAY(sa.Text()), "ttl_seconds": sa.BigInteger()}
    for name, comment in comments.items():
        kind = types.get(name, sa.DateTime(timezone=True))
        op.add_column("signers", sa.Column(name, kind, nullable=True, comment=comment), schema="public")
    for name, (_, comment) in _CHANGED.items():
        op.alter_column("signers", name, comment=comment, schema="public")
    op.create_table_comment("signers", _SIGNERS, schema="public")


def downgrade() -> None:
    op.create_table_comment("signers", _EARLIER_SIGNERS, schema="public")
    for name, (comment, _) in _CHANGED.items():
        op.alter_column("signers", name, comment=comment, schema="public")
    for name in ("scopes", "ttl_seconds", "last_used_at", "expires_at"):
        op.drop_column("signers", name, schema="public")
    op.drop_table("gasless_keys", schema="public")
