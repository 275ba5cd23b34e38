"""Rows that some hours decided are found without reading a large table through."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TABLES = ("casts", "reactions", "links", "verifications", "user_data", "username_proofs", "on_chain_events")


def upgrade() -> None:
    for table in _TABLES:
        op.execute(f"CREATE INDEX {table}_version_idx ON public.{table} USING brin (version int8_minmax_multi_ops)")


def downgrade() -> None:
    for table in _TABLES:
        op.execute(f"DROP INDEX public.{table}_version_idx")
