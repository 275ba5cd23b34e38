"""What the comments of tables say of rows that a snapshot deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("casts", "links", "reactions", "user_data", "username_proofs", "verifications")
_REASONS = (
    "Why the row was deleted: removed, pruned, revoked, replaced, compacted, released, or reconciled with a snapshot "
    "that lacks it; null means live"
)


def upgrade() -> None:
    for table in _TABLES:
        op.alter_column(
            table, "deleted_reason", existing_type=sa.Text(), comment=_REASONS, existing_nullable=True, schema="public"
        )
    op.create_table_comment(
        "on_chain_events",
        "Events of Farcaster's contracts. One that the hub does not list is deleted.",
        schema="public",
    )
