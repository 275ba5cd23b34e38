"""Until when the snapshot of an FID that was folded last was read."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "snapshots",
        sa.Column("folded_until_id", sa.BigInteger(), nullable=True, comment="The until_id of that snapshot"),
        schema="pipeline",
    )
