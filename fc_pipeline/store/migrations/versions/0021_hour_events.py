"""An hour's events by type: what an hour is compared with that the hub serves in part."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hour_events",
        sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("event_type", sa.Text, primary_key=True, comment="Of the message that was merged, else of the event"),
        sa.Column("events", sa.BigInteger, nullable=False, comment="Events read, whatever became of them"),
        schema="pipeline",
        comment="An hour's events by type, counted when its blocks were folded for the first time.",
    )


def downgrade() -> None:
    op.drop_table("hour_events", schema="pipeline")
