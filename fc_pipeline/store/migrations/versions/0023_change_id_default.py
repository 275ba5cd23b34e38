"""A row's change_id without a text in between: the default is evaluated for every row that is written."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_TABLES = (
    *("casts", "reactions", "links", "verifications", "user_data", "storage_lends"),
    *("channel_settings", "channel_members", "channel_pins", "channel_moderations"),
    *("username_proofs", "on_chain_events", "gasless_keys", "embeds", "signers", "storage_rents", "tier_purchases"),
    *("user_profiles", "channels", "channel_follows", "fid_activity", "cast_mentions", "cast_threads"),
)


def upgrade() -> None:
    _set_default("txid_current()")


def downgrade() -> None:
    _set_default("(pg_current_xact_id()::text)::bigint")


def _set_default(value: str) -> None:
    for table in (*(f"public.{name}" for name in _TABLES), "pipeline.link_compactions", "pipeline.removals"):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN change_id SET DEFAULT {value}")
