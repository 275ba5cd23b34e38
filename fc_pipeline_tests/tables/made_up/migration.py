"""The made-up table `notes`."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "THIS"
down_revision = "NEWEST"
branch_labels = None
depends_on = None

_REASONS = (
    "Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, not_target (of a name: its "
    "holder is no target), or reconciled with a snapshot that lacks it; null means live"
)


def upgrade() -> None:
    op.create_table(
        "notes",
        sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False, comment="Author"),
        sa.Column("title", sa.Text, primary_key=True, comment="Title, unique per author"),
        sa.Column("text", sa.Text, comment="The note"),
        sa.Column("subject_fid", sa.BigInteger, comment="Whom the note is about"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            comment="When the user says the message was made: a claim, which may be wrong",
        ),
        sa.Column("hash", postgresql.BYTEA, comment="BLAKE3 hash of the message, 20 bytes"),
        sa.Column(
            "block_time",
            sa.DateTime(timezone=True),
            comment="Block time of the event that last decided this row; null where only a by-FID answer, which has "
            "none, told of it",
        ),
        sa.Column("signer", postgresql.BYTEA, comment="Ed25519 public key that signed the message"),
        sa.Column("signature", postgresql.BYTEA, comment="Signature over the hash"),
        sa.Column("deleted_reason", sa.Text, comment=_REASONS),
        sa.Column(
            "version",
            sa.BigInteger,
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), comment="When the row was deleted; null means live"),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="When the transaction began that last changed this row here",
        ),
        sa.Column(
            "change_id",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("txid_current()"),
            comment="Id of the transaction that last changed this row here; api.changes_since reads on from one",
        ),
        comment="What users note about others.",
    )
    op.create_index("notes_subject_fid_idx", "notes", ["subject_fid"])
    op.create_index(
        "notes_version_idx",
        "notes",
        ["version"],
        postgresql_using="brin",
        postgresql_ops={"version": "int8_minmax_multi_ops"},
    )


def downgrade() -> None:
    op.drop_table("notes")
