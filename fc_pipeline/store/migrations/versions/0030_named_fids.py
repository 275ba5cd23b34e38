"""Which hours of the raw log name an FID."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "named_hours",
        sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("heights", pg.INT8MULTIRANGE, nullable=False, comment="The heights that were looked through"),
        sa.Column("fids", sa.BigInteger, nullable=False, comment="How many FIDs these may name"),
        schema="pipeline",
        comment="Hours of the raw log of which it is known whom they name (FC_TARGETS=set).",
    )
    op.create_table(
        "named_fids",
        sa.Column("page", sa.Integer, primary_key=True, autoincrement=False, comment="fid / 65,536"),
        sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fids", pg.BYTEA, nullable=False, comment="Their distances modulo 65,536, compressed"),
        sa.ForeignKeyConstraint(
            ["partition", "shard"], ["pipeline.named_hours.partition", "pipeline.named_hours.shard"], ondelete="CASCADE"
        ),
        sa.Index("named_fids_hour_idx", "partition", "shard"),
        schema="pipeline",
        comment="The FIDs that an hour of the raw log may name: all that it does, and some others.",
    )


def downgrade() -> None:
    op.drop_table("named_fids", schema="pipeline")
    op.drop_table("named_hours", schema="pipeline")
