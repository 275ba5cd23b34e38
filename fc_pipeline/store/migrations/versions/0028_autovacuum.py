"""Autovacuum comes to large tables in small shares of their rows, where Postgres' own shares are months of changes."""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

_LARGE = (
    "public.casts",
    "public.reactions",
    "public.links",
    "public.embeds",
    "public.cast_mentions",
    "public.cast_threads",
    "public.cast_counts",
    "public.fid_activity",
    "pipeline.other_leaves",
)
_SHARES = {
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_insert_scale_factor": 0.01,
    "autovacuum_analyze_scale_factor": 0.005,
}


def upgrade() -> None:
    shares = ", ".join(f"{name} = {share}" for name, share in _SHARES.items())
    for table in _LARGE:  # one that a user dropped is made anew after the migrations, with these
        op.execute(f"ALTER TABLE IF EXISTS {table} SET ({shares})")


def downgrade() -> None:
    for table in _LARGE:
        op.execute(f"ALTER TABLE IF EXISTS {table} RESET ({', '.join(_SHARES)})")
