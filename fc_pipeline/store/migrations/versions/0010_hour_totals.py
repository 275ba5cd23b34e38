"""An hour's totals: what became of its events, and what was written to each table; and where partitions begin."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TOTALS = {
    "events_with_rows": (sa.BigInteger, "Of the events, those with rows for one of tables"),
    "events_written": (sa.BigInteger, "Of these, those of which a row was written"),
    "events_without_rows": (sa.BigInteger, "Events that no table is made of"),
    "events_filtered": (sa.BigInteger, "Events of no target, or of none of tables"),
    "events_quarantined": (sa.BigInteger, "Events that are in quarantine and in no table"),
    "quarantined": (sa.BigInteger, "Records put into quarantine, notes included"),
    "micro_batches": (sa.BigInteger, "Transactions that folded these heights"),
    "bytes": (sa.BigInteger, "Size of the events as the hub sent them"),
    "naive_rows": (sa.BigInteger, "Rows that one write per message would have written"),
    "rows_filtered": (sa.BigInteger, "Rows that concern no target"),
    "postgres_seconds": (sa.Double, "Time that these transactions took"),
}


def upgrade() -> None:
    for name, (kind, comment) in _TOTALS.items():
        op.add_column("coverage", sa.Column(name, kind, comment=comment), schema="pipeline")
    op.create_table(
        "hour_rows",
        sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column(
            "shard",
            sa.Integer,
            primary_key=True,
            autoincrement=False,
            comment="0: of all shards together, as fid_activity is counted from the raw log",
        ),
        sa.Column("rows_inserted", sa.BigInteger, nullable=False),
        sa.Column("rows_updated", sa.BigInteger, nullable=False),
        sa.Column("rows_deleted", sa.BigInteger, nullable=False, comment="Rows that became tombstones"),
        schema="pipeline",
        comment="What folding an hour's blocks for the first time wrote to each table; folding them again adds nothing.",
    )
    op.create_table(
        "partition_start",
        sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="There is one line"),
        sa.Column(
            "start_at", sa.DateTime(timezone=True), nullable=False, comment="Midnight (UTC) before the first data"
        ),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.CheckConstraint("is_only", name="partition_start_is_only_check"),
        schema="pipeline",
        comment="Where Dagster's hourly partitions begin: moves back when earlier data come, never forward.",
    )


def downgrade() -> None:
    op.drop_table("partition_start", schema="pipeline")
    op.drop_table("hour_rows", schema="pipeline")
    for name in reversed(_TOTALS):
        op.drop_column("coverage", name, schema="pipeline")
