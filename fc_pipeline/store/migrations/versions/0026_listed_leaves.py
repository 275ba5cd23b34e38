"""Who lends and who borrows, of a lend's leaf; and as of which events the lists of an FID's other leaves were folded."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "other_leaves",
        sa.Column("lender_fid", sa.BigInteger, comment="Of a LEND_STORAGE: who lends, whose lists have it"),
        schema="pipeline",
    )
    op.add_column(
        "other_leaves",
        sa.Column("borrower_fid", sa.BigInteger, comment="Of a LEND_STORAGE: who borrows"),
        schema="pipeline",
    )
    op.add_column(
        "snapshots",
        sa.Column(
            "leaves_versions",
            pg.ARRAY(sa.BigInteger),
            comment="By shard the event id as of which the newest folded snapshot has all leaves that are no rows",
        ),
        schema="pipeline",
    )


def downgrade() -> None:
    op.drop_column("snapshots", "leaves_versions", schema="pipeline")
    op.drop_column("other_leaves", "borrower_fid", schema="pipeline")
    op.drop_column("other_leaves", "lender_fid", schema="pipeline")
