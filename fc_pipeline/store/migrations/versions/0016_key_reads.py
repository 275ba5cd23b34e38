"""Which users' gasless keys are to be read, and which in vain."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    now = sa.text("now()")
    op.create_table(
        "unexplained_keys",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Whose message it signed"),
        sa.Column("key", postgresql.BYTEA(), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("asked_at", sa.DateTime(timezone=True), comment="When the user's keys were last read in vain"),
        sa.Column(
            "attempts", sa.Integer(), nullable=False, server_default="0", comment="How often; after three it is left"
        ),
        sa.PrimaryKeyConstraint("fid", "key"),
        schema="pipeline",
        comment="Keys that signed messages and that no row of signers has.",
    )
    op.create_table(
        "unread_keys",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("failure", sa.Text(), nullable=False, comment="Why the hub gave no answer"),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="Users whose gasless keys a hub could not be asked for: left alone for a day.",
    )
    op.create_table(
        "key_search",
        sa.Column("is_only", sa.Boolean(), nullable=False, server_default=sa.text("true"), comment="There is one line"),
        sa.Column(
            "searched_at", sa.DateTime(timezone=True), comment="Until when what was folded was searched for keys"
        ),
        sa.Column("lacking_at", sa.DateTime(timezone=True), comment="When the hub was found to have no such endpoint"),
        sa.PrimaryKeyConstraint("is_only"),
        sa.CheckConstraint("is_only", name="key_search_is_only_check"),
        schema="pipeline",
        comment="How far the search for unexplained keys has come.",
    )


def downgrade() -> None:
    for table in ("key_search", "unread_keys", "unexplained_keys"):
        op.drop_table(table, schema="pipeline")
