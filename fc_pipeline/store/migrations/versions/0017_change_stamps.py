"""When a row's block was, when it last changed here, and which rows were deleted."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_MESSAGES = (
    *("casts", "reactions", "links", "verifications", "user_data", "storage_lends"),
    *("channel_settings", "channel_members", "channel_pins", "channel_moderations"),
)
_OTHERS = (
    *("username_proofs", "on_chain_events", "gasless_keys", "embeds", "signers", "storage_rents", "tier_purchases"),
    *("user_profiles", "channels", "channel_follows", "fid_activity"),
)
_CHANGE_ID = "(pg_current_xact_id()::text)::bigint"
_COMMENTS = {
    "block_time": "Block time of the event that last decided this row; null where only a by-FID answer, which has "
    "none, told of it",
    "updated_at": "When the transaction began that last changed this row here",
    "change_id": "Id of the transaction that last changed this row here; api.changes_since reads on from one",
}


def upgrade() -> None:
    # Rows that are there count as changed by this transaction; a constant, so that no table is written anew.
    now = op.get_bind().exec_driver_sql(f"SELECT {_CHANGE_ID}").scalar_one()
    for table in (*_MESSAGES, *_OTHERS, "link_compactions"):
        schema = "pipeline" if table == "link_compactions" else "public"
        if table in _MESSAGES:
            op.execute(f"ALTER TABLE public.{table} ADD COLUMN block_time timestamptz")
            _comment(f"public.{table}", "block_time")
        if table != "user_profiles":  # whose own updated_at says when its messages were made
            op.execute(f"ALTER TABLE {schema}.{table} ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now()")
            _comment(f"{schema}.{table}", "updated_at")
        op.execute(f"ALTER TABLE {schema}.{table} ADD COLUMN change_id bigint NOT NULL DEFAULT {int(now)}")
        op.execute(f"ALTER TABLE {schema}.{table} ALTER COLUMN change_id SET DEFAULT {_CHANGE_ID}")
        _comment(f"{schema}.{table}", "change_id")
        if table != "fid_activity":
            op.create_index(f"{table}_change_id_idx", table, ["change_id"], schema=schema)
    op.create_table(
        "removals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("key", postgresql.JSONB(), nullable=False, comment="The row's key, by column"),
        sa.Column(
            "change_id",
            sa.BigInteger(),
            nullable=False,
            server_default=sa.text(_CHANGE_ID),
            comment="Id of the transaction that deleted it",
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.PrimaryKeyConstraint("id"),
        schema="pipeline",
        comment="Rows that were deleted, not left as tombstones, for those who pull changes (api.changes_since).",
    )
    op.create_index("removals_table_name_change_id_idx", "removals", ["table_name", "change_id"], schema="pipeline")


def _comment(table: str, column: str) -> None:
    op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{_COMMENTS[column]}'")


def downgrade() -> None:
    op.drop_table("removals", schema="pipeline")
    op.execute("DROP FUNCTION IF EXISTS pipeline.stamp_change, pipeline.note_removals CASCADE")
    for table in (*_MESSAGES, *_OTHERS, "link_compactions"):
        schema = "pipeline" if table == "link_compactions" else "public"
        columns = ["change_id"]
        if table in _MESSAGES:
            columns.append("block_time")
        if table != "user_profiles":
            columns.append("updated_at")
        for column in columns:
            op.drop_column(table, column, schema=schema)
