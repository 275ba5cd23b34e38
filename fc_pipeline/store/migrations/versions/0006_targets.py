"""The target set: whom the owner named, who they lead to, who was taken out again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("casts", "links", "reactions", "user_data", "username_proofs", "verifications")
_REASONS = (
    "Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, not_target (of a name: its "
    "holder is no target), or reconciled with a snapshot that lacks it; null means live"
)


def upgrade() -> None:
    for table in _TABLES:
        op.alter_column(
            table, "deleted_reason", existing_type=sa.Text(), comment=_REASONS, existing_nullable=True, schema="public"
        )
    op.create_table(
        "former_targets",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it was a target"),
        sa.Column("via_fid", sa.BigInteger(), nullable=True),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False, comment="Of the set, when it was taken out"),
        sa.Column(
            "policy",
            sa.Text(),
            nullable=True,
            comment="What became of its rows: keep (they stay as they were) or drop; null: to do",
        ),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True, comment="When"),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="FIDs that are targets no more, and what became of their rows.",
    )
    op.create_index("former_targets_generation_idx", "former_targets", ["generation"], unique=False, schema="pipeline")
    op.create_index(
        "former_targets_unsettled_idx",
        "former_targets",
        ["fid"],
        unique=False,
        schema="pipeline",
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.create_table(
        "target_clients",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="The app's FID"),
        sa.Column(
            "metadata_prefix", sa.Text(), nullable=False, comment="How a signer's metadata begins that it asked for"
        ),
        sa.Column("most_followed", sa.Integer(), nullable=True, comment="As of a root, for each of its users"),
        sa.Column("watched_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "searched_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When the raw log was searched for its users",
        ),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="The apps (FC_CLIENT_FIDS) whose users are targets.",
    )
    op.create_table(
        "target_denials",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("named_by", sa.Text(), nullable=False, comment="settings (FC_DENY_FIDS) or command"),
        sa.Column("denied_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="FIDs that are no targets, whoever follows them.",
    )
    op.create_table(
        "target_roots",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("named_by", sa.Text(), nullable=False, comment="settings (FC_ROOT_FIDS) or command"),
        sa.Column("follows", sa.Boolean(), nullable=False, comment="Whether those whom it follows are targets, too"),
        sa.Column(
            "most_followed",
            sa.Integer(),
            nullable=True,
            comment="At most so many of them, the longest followed; null: all",
        ),
        sa.Column("named_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="The users whom the owner named.",
    )
    op.create_table(
        "target_set",
        sa.Column("is_only", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="There is one line"),
        sa.Column("mode", sa.Text(), nullable=False, comment="What the tables are of: all users, or the target set"),
        sa.Column("generation", sa.BigInteger(), server_default="0", nullable=False, comment="Grows with every change"),
        sa.Column(
            "mentions", sa.Boolean(), server_default=sa.text("true"), nullable=False, comment="Whether mentions count"
        ),
        sa.Column("cache_key", sa.Text(), nullable=False, comment="What the set's keys in Redis begin with"),
        sa.Column(
            "trimmed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Null: rows that no target explains may be left",
        ),
        sa.CheckConstraint("mode IN ('all', 'set')", name="target_set_mode_check"),
        sa.CheckConstraint("is_only", name="target_set_is_only_check"),
        sa.PrimaryKeyConstraint("is_only"),
        schema="pipeline",
        comment="Of whom this database is, and the generation of its target set.",
    )
    op.create_table(
        "target_sign_ups",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "client_fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="The app signed up through"
        ),
        sa.Column(
            "signed_up_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Block time of the signer's contract event",
        ),
        sa.PrimaryKeyConstraint("fid", "client_fid"),
        schema="pipeline",
        comment="Users who added a signer that a watched app had asked for.",
    )
    op.create_table(
        "targets",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="root, client (signed up through one) or followed"),
        sa.Column(
            "via_fid", sa.BigInteger(), nullable=True, comment="The root that follows, or the client signed up through"
        ),
        sa.Column("since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False, comment="Of the set, when this line came or changed"),
        sa.Column(
            "synced_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="When its history became complete; null: to be fetched",
        ),
        sa.Column(
            "attempts", sa.Integer(), server_default="0", nullable=False, comment="Fetches that failed since then"
        ),
        sa.Column(
            "tried_at", sa.DateTime(timezone=True), nullable=True, comment="When its history was last asked for in vain"
        ),
        sa.Column("failure", sa.Text(), nullable=True, comment="Why that failed"),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="The FIDs to index, each with the reason why; Redis holds a copy.",
    )
    op.create_index("targets_generation_idx", "targets", ["generation"], unique=False, schema="pipeline")
    op.create_index(
        "targets_unsynced_idx",
        "targets",
        ["fid"],
        unique=False,
        schema="pipeline",
        postgresql_where=sa.text("synced_at IS NULL"),
    )
    op.create_index(
        "targets_via_idx",
        "targets",
        ["via_fid"],
        unique=False,
        schema="pipeline",
        postgresql_where=sa.text("reason = 'followed'"),
    )
