"""The pipeline's own tables, schema `pipeline`: coverage ledger, quarantine, leases, and where each shard began."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.tables.columns import METADATA

__all__ = ["COVERAGE", "LEASES", "QUARANTINE", "SCHEMA", "SHARDS"]

SCHEMA = "pipeline"

_now = sa.text("now()")

COVERAGE = sa.Table(
    "coverage",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("from_height", sa.BigInteger, primary_key=True, autoincrement=False, comment="First folded height"),
    sa.Column("to_height", sa.BigInteger, nullable=False, comment="Last folded height, inclusive"),
    sa.Column("tables", pg.ARRAY(sa.Text), nullable=False, comment="What these heights were written to"),
    sa.Column("partition", sa.Text, nullable=False, comment="The hour, as Dagster's partition key"),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run that folded it last"),
    sa.Column("events", sa.BigInteger, nullable=False, comment="Events read"),
    sa.Column("confirmed_events", sa.BigInteger, nullable=False, comment="Events that BLOCK_CONFIRMED announced"),
    sa.Column("rows_written", sa.BigInteger, nullable=False, comment="Rows inserted, updated or deleted"),
    sa.Column("last_block_at", sa.DateTime(timezone=True), nullable=False, comment="Time of the block at to_height"),
    sa.Column(
        "last_block_hash", pg.BYTEA, comment="Its hash, which a hub of the same network has too; null if unknown"
    ),
    sa.Column("committed_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.CheckConstraint("from_height <= to_height", name="coverage_range_check"),
    # One range type over (shard, height), so that no extension is needed to forbid overlaps.
    pg.ExcludeConstraint(
        (
            sa.text("int8range((shard::bigint << 50) + from_height, (shard::bigint << 50) + to_height, '[]')"),
            "&&",
        ),
        using="gist",
        name="coverage_no_overlap",
    ),
    schema=SCHEMA,
    comment="Ledger of folded height ranges: no overlap ever, and a hole is work to do.",
)

QUARANTINE = sa.Table(
    "quarantine",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("event_id", sa.BigInteger, primary_key=True, autoincrement=False, comment="Or its predecessor's"),
    sa.Column("raw_sha256", pg.BYTEA, primary_key=True, comment="Tells apart records whose id cannot be read"),
    sa.Column(
        "reason", sa.Text, nullable=False, comment="undecodable, invalid, unknown_type, nul_removed or poison_page"
    ),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("raw", pg.BYTEA, nullable=False, comment="The event as the hub sent it"),
    sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("resolved_at", sa.DateTime(timezone=True), comment="When a replay folded it after all"),
    schema=SCHEMA,
    comment="Records set aside, with reason and raw bytes, counted and replayable.",
)

SHARDS = sa.Table(
    "shards",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("origin_height", sa.BigInteger, nullable=False, comment="First height that the ledger must cover"),
    sa.Column("origin_at", sa.DateTime(timezone=True), nullable=False, comment="Time of that block"),
    sa.Column("shard_count", sa.Integer, nullable=False, comment="Number of data shards of the network"),
    schema=SCHEMA,
    comment="Where the replica of each shard begins.",
)

LEASES = sa.Table(
    "leases",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
    sa.Column("holder", sa.Text, nullable=False, comment="Run and attempt that may write"),
    sa.Column("backend_pid", sa.Integer, nullable=False, comment="Its Postgres session; gone means that it died"),
    sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("planned_end_at", sa.DateTime(timezone=True), comment="Until when it means to write; null: until done"),
    schema=SCHEMA,
    comment="Who may write which hour of which shard; checked inside every micro-batch's transaction.",
)
