"""Leaves that some hours decided are found without reading all of them through."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_NAME = "other_leaves_version_idx"


def upgrade() -> None:
    op.execute(f"CREATE INDEX {_NAME} ON pipeline.other_leaves USING brin (version int8_minmax_multi_ops)")


def downgrade() -> None:
    op.execute(f"DROP INDEX IF EXISTS pipeline.{_NAME}")
