"""The ledger's heights as ranges, kept by triggers, and indexes of its lines by hour and by when they were written."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "covered_heights",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tables", pg.ARRAY(sa.Text), primary_key=True, comment="What these heights were written to"),
        sa.Column("heights", pg.INT8MULTIRANGE, nullable=False, comment="Of all lines of coverage with these tables"),
        schema="pipeline",
        comment="The ledger's heights as ranges; triggers keep them as the lines of coverage are.",
    )
    op.create_index("coverage_partition_idx", "coverage", ["partition", "shard"], schema="pipeline")
    op.create_index("coverage_committed_at_idx", "coverage", ["committed_at"], schema="pipeline")


def downgrade() -> None:
    for operation in ("insert", "update", "delete", "truncate"):
        op.execute(f"DROP TRIGGER IF EXISTS note_covered_{operation} ON pipeline.coverage")
    op.execute("DROP FUNCTION IF EXISTS pipeline.note_covered_lines, pipeline.note_covered")
    op.drop_index("coverage_committed_at_idx", "coverage", schema="pipeline")
    op.drop_index("coverage_partition_idx", "coverage", schema="pipeline")
    op.drop_table("covered_heights", schema="pipeline")
