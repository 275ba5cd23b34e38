"""How many requests runs have sent to each hub."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hub_requests",
        sa.Column("hub", sa.Text(), nullable=False, comment="Its address, without anything secret"),
        sa.Column("requests", sa.BigInteger(), nullable=False, comment="Requests that runs have sent to it"),
        sa.Column("failures", sa.BigInteger(), nullable=False, comment="Of these, those without a usable answer"),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("hub"),
        schema="pipeline",
        comment="Requests to each hub, added up by each run at its end.",
    )


def downgrade() -> None:
    op.drop_table("hub_requests", schema="pipeline")
