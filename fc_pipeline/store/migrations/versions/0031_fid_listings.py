"""The FIDs of a round of snapshots are listed once and kept, so that runs over its buckets share them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "fid_listings",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, comment="By which runs that share a round find it; null: of one run"),
        sa.Column("buckets", pg.ARRAY(sa.Integer), nullable=False, comment="Whose FIDs are kept: fid % 256"),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        schema="pipeline",
        comment="Lists of all FIDs, one per round of snapshots: by hubs, and those that only the tables know.",
    )
    op.create_table(
        "listed_fids",
        sa.Column("listing", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False, comment="fid % 256"),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("page", sa.Integer, primary_key=True, autoincrement=False, comment="0: what only the tables know"),
        sa.Column("fids", pg.ARRAY(sa.BigInteger), nullable=False),
        schema="pipeline",
        comment="The FIDs of a listing, by bucket, as they came.",
    )
    op.add_column(
        "snapshot_rounds",
        sa.Column("listing", sa.BigInteger, comment="Id of the list of FIDs that it goes by; null: named by its scope"),
        schema="pipeline",
    )


def downgrade() -> None:
    op.drop_column("snapshot_rounds", "listing", schema="pipeline")
    op.drop_table("listed_fids", schema="pipeline")
    op.drop_table("fid_listings", schema="pipeline")
