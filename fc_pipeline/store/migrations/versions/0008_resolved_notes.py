"""A note that a text lost its U+0000 is resolved when it is made: its row is stored, and nobody has to do anything."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_RESOLVED_AT = "When a replay folded it; of a note, when it was made"
_OLD_RESOLVED_AT = "When a replay folded it after all"


def upgrade() -> None:
    op.execute(
        "UPDATE pipeline.quarantine SET resolved_at = last_seen WHERE reason = 'nul_removed' AND resolved_at IS NULL"
    )
    _comment(_RESOLVED_AT, _OLD_RESOLVED_AT)


def downgrade() -> None:
    op.execute("UPDATE pipeline.quarantine SET resolved_at = NULL WHERE reason = 'nul_removed'")
    _comment(_OLD_RESOLVED_AT, _RESOLVED_AT)


def _comment(comment: str, before: str) -> None:
    op.alter_column(
        "quarantine",
        "resolved_at",
        comment=comment,
        existing_comment=before,
        existing_type=sa.DateTime(timezone=True),
        schema="pipeline",
    )
