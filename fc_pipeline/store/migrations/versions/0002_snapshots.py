"""Snapshots, their rounds, drift and gaps."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("fid", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False, comment="fid % 256"),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="missing (the table lacked it), different, or phantom (live in the table, not on the hub)",
        ),
        sa.Column("key", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="The row's primary key"),
        sa.Column(
            "table_row", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="The row as the table had it"
        ),
        sa.Column(
            "hub_row", postgresql.JSONB(astext_type=sa.Text()), nullable=True, comment="The row as the hub has it"
        ),
        sa.Column("table_version", sa.BigInteger(), nullable=True),
        sa.Column("snapshot_version", sa.BigInteger(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that found and healed it"),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="pipeline",
        comment="Rows that a snapshot corrected although their history was covered, with both versions.",
    )
    op.create_index("drift_found_at_idx", "drift", ["found_at"], unique=False, schema="pipeline")
    op.create_table(
        "gaps",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column(
            "from_height", sa.BigInteger(), autoincrement=False, nullable=False, comment="First height without events"
        ),
        sa.Column("to_height", sa.BigInteger(), autoincrement=False, nullable=False, comment="Last one, inclusive"),
        sa.Column("reason", sa.Text(), nullable=False, comment="outage, poison_page or another word for the cause"),
        sa.Column("found_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("healed_at", sa.DateTime(timezone=True), nullable=True, comment="Null: open"),
        sa.Column("healed_by", sa.Text(), nullable=True, comment="Dagster run that healed it"),
        sa.Column("healed_how", sa.Text(), nullable=True, comment="feed or snapshots"),
        sa.PrimaryKeyConstraint("shard", "from_height", "to_height"),
        schema="pipeline",
        comment="Holes in the ledger that were found, and how each was healed.",
    )
    op.create_table(
        "snapshot_rounds",
        sa.Column("bucket", sa.Integer(), autoincrement=False, nullable=False, comment="fid % 256"),
        sa.Column("scope", sa.Text(), nullable=False, comment="all, or a digest of the FIDs asked for"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Null: under way, or cut short and to be resumed",
        ),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that worked on it last"),
        sa.Column("fids", sa.BigInteger(), server_default="0", nullable=False, comment="FIDs fetched"),
        sa.Column("requests", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("bucket", "scope", "started_at"),
        schema="pipeline",
        comment="Rounds of snapshots over a bucket's FIDs.",
    )
    op.create_table(
        "snapshots",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False, comment="fid % 256"),
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Highest event id that the shard's head can have had before the FID's first request",
        ),
        sa.Column("until_id", sa.BigInteger(), nullable=False, comment="The same, after the FID's last request"),
        sa.Column("file", sa.Text(), nullable=False, comment="Where the records lie, below the lake's fid_snapshots"),
        sa.Column(
            "records", sa.BigInteger(), nullable=False, comment="Messages, proofs and contract events of the FID"
        ),
        sa.Column("requests", sa.Integer(), nullable=False, comment="Requests that they took"),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster run that fetched it"),
        sa.Column(
            "folded_version",
            sa.BigInteger(),
            nullable=True,
            comment="Version of the snapshot folded last; null: none yet",
        ),
        sa.Column(
            "folded_file",
            sa.Text(),
            nullable=True,
            comment="Its file; another one than file means that the newest waits",
        ),
        sa.Column("folded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("folded_run_id", sa.Text(), nullable=True, comment="Dagster run that folded it"),
        sa.PrimaryKeyConstraint("fid"),
        schema="pipeline",
        comment="The newest by-FID snapshot of each FID, and which one was folded last.",
    )
    op.create_index("snapshots_bucket_idx", "snapshots", ["bucket"], unique=False, schema="pipeline")
