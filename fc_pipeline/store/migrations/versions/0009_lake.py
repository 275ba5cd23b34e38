"""Which lake is the database's: its id, which stands in the lake as well."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lake",
        sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="There is one line"),
        sa.Column("lake_id", sa.Text, nullable=False, comment="As in the lake's fc_pipeline_lake.json"),
        sa.Column("place", sa.Text, nullable=False, comment="FC_LAKE_URI when it was adopted, without keys"),
        sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint("is_only", name="lake_is_only_check"),
        schema="pipeline",
        comment="The lake that this database goes with: no other one is written to or read.",
    )


def downgrade() -> None:
    op.drop_table("lake", schema="pipeline")
