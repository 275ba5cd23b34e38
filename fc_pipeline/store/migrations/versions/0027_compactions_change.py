"""Nobody reads compact states by their change: the index of it served no query."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_NAME = "link_compactions_change_id_idx"


def upgrade() -> None:
    op.execute(f"DROP INDEX IF EXISTS pipeline.{_NAME}")


def downgrade() -> None:
    op.execute(f"CREATE INDEX {_NAME} ON pipeline.link_compactions (change_id)")
