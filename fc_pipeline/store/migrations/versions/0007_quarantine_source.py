"""Whence a quarantined record came: the feed, or which by-FID list of whose snapshot; a replay needs to know."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_SOURCE = "feed, or the list of a by-FID snapshot: casts, reactions, links, …"
_FID = "Whose snapshot; null for the feed"
_REASON = "undecodable, misplaced, invalid, unknown_type, nul_removed or poison_page"
_OLD_REASON = "undecodable, invalid, unknown_type, nul_removed or poison_page"


def upgrade() -> None:
    source = sa.Column("source", sa.Text, nullable=False, server_default="feed", comment=_SOURCE)
    op.add_column("quarantine", source, schema="pipeline")
    op.add_column("quarantine", sa.Column("fid", sa.BigInteger, comment=_FID), schema="pipeline")
    op.alter_column("quarantine", "reason", comment=_REASON, existing_comment=_OLD_REASON, schema="pipeline")


def downgrade() -> None:
    op.alter_column("quarantine", "reason", comment=_OLD_REASON, existing_comment=_REASON, schema="pipeline")
    op.drop_column("quarantine", "fid", schema="pipeline")
    op.drop_column("quarantine", "source", schema="pipeline")
