"""Indexes for what apps read (schema api): by network time, by words, by the beginnings of names."""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TIME = 'coalesce(block_time, "timestamp")'
_RANGES = f"USING brin (({_TIME}))"
_ADDED = (
    ("casts", "fid_network_time", f"(fid, {_TIME})"),
    ("casts", "parent_hash_network_time", f"(parent_hash, {_TIME}) WHERE parent_hash IS NOT NULL"),
    ("casts", "parent_fid_network_time", f"(parent_fid, {_TIME}) WHERE parent_fid IS NOT NULL"),
    ("casts", "parent_url_network_time", f"(parent_url, {_TIME}) WHERE parent_url IS NOT NULL"),
    ("casts", "network_time", _RANGES),
    ("reactions", "target_hash_type_network_time", f"(target_hash, type, {_TIME}) WHERE target_hash IS NOT NULL"),
    ("reactions", "target_fid_network_time", f"(target_fid, {_TIME}) WHERE target_fid IS NOT NULL"),
    ("reactions", "network_time", _RANGES),
    ("links", "target_fid_type_network_time", f"(target_fid, type, {_TIME})"),
    ("user_profiles", "lower_username", "(lower(username) text_pattern_ops)"),
    ("user_profiles", "lower_display_name", "(lower(display_name) text_pattern_ops)"),
    ("user_profiles", "custody_address", "(custody_address)"),
)
_REPLACED = (
    ("casts", "fid_timestamp", "(fid, timestamp)"),
    ("casts", "parent_hash", "(parent_hash) WHERE parent_hash IS NOT NULL"),
    ("casts", "parent_url_timestamp", "(parent_url, timestamp) WHERE parent_url IS NOT NULL"),
    ("reactions", "target_hash", "(target_hash) WHERE target_hash IS NOT NULL"),
    ("links", "target_fid_type", "(target_fid, type)"),
)


def upgrade() -> None:
    _replace(_ADDED, _REPLACED)


def downgrade() -> None:
    _replace(_REPLACED, _ADDED)


def _replace(made: tuple[tuple[str, str, str], ...], dropped: tuple[tuple[str, str, str], ...]) -> None:
    for table, name, indexed in made:
        op.execute(f"CREATE INDEX {table}_{name}_idx ON public.{table} {indexed}")
    for table, name, _ in dropped:
        op.execute(f"DROP INDEX IF EXISTS public.{table}_{name}_idx")  # a user may have dropped it
