"""The pipeline's own tables, schema `pipeline`: coverage ledger, quarantine, leases, shards, snapshots, drift, gaps."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.tables.columns import METADATA

__all__ = ["COVERAGE", "DRIFT", "GAPS", "LEASES", "QUARANTINE", "SCHEMA", "SHARDS", "SNAPSHOTS", "SNAPSHOT_ROUNDS"]

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
        "reason",
        sa.Text,
        nullable=False,
        comment="undecodable, misplaced, invalid, unknown_type, nul_removed or poison_page",
    ),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("raw", pg.BYTEA, nullable=False, comment="The event as the hub sent it"),
    sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("resolved_at", sa.DateTime(timezone=True), comment="When a replay folded it after all"),
    sa.Column(
        "source",
        sa.Text,
        nullable=False,
        server_default="feed",
        comment="feed, or the list of a by-FID snapshot: casts, reactions, links, …",
    ),
    sa.Column("fid", sa.BigInteger, comment="Whose snapshot; null for the feed"),
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

SNAPSHOTS = sa.Table(
    "snapshots",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("bucket", sa.Integer, nullable=False, comment="fid % 256"),
    sa.Column(
        "version",
        sa.BigInteger,
        nullable=False,
        comment="Highest event id that the shard's head can have had before the FID's first request",
    ),
    sa.Column("until_id", sa.BigInteger, nullable=False, comment="The same, after the FID's last request"),
    sa.Column("file", sa.Text, nullable=False, comment="Where the records lie, below the lake's fid_snapshots"),
    sa.Column("records", sa.BigInteger, nullable=False, comment="Messages, proofs and contract events of the FID"),
    sa.Column("requests", sa.Integer, nullable=False, comment="Requests that they took"),
    sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run that fetched it"),
    sa.Column("folded_version", sa.BigInteger, comment="Version of the snapshot folded last; null: none yet"),
    sa.Column("folded_file", sa.Text, comment="Its file; another one than file means that the newest waits"),
    sa.Column("folded_at", sa.DateTime(timezone=True)),
    sa.Column("folded_run_id", sa.Text, comment="Dagster run that folded it"),
    sa.Column("folded_until_id", sa.BigInteger, comment="The until_id of that snapshot"),
    sa.Index("snapshots_bucket_idx", "bucket"),
    schema=SCHEMA,
    comment="The newest by-FID snapshot of each FID, and which one was folded last.",
)

SNAPSHOT_ROUNDS = sa.Table(
    "snapshot_rounds",
    METADATA,
    sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False, comment="fid % 256"),
    sa.Column("scope", sa.Text, primary_key=True, comment="all, or a digest of the FIDs asked for"),
    sa.Column("started_at", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("finished_at", sa.DateTime(timezone=True), comment="Null: under way, or cut short and to be resumed"),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run that worked on it last"),
    sa.Column("fids", sa.BigInteger, nullable=False, server_default="0", comment="FIDs fetched"),
    sa.Column("requests", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records", sa.BigInteger, nullable=False, server_default="0"),
    schema=SCHEMA,
    comment="Rounds of snapshots over a bucket's FIDs.",
)

DRIFT = sa.Table(
    "drift",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("fid", sa.BigInteger, nullable=False),
    sa.Column("bucket", sa.Integer, nullable=False, comment="fid % 256"),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column(
        "kind",
        sa.Text,
        nullable=False,
        comment="missing (the table lacked it), different, or phantom (live in the table, not on the hub)",
    ),
    sa.Column("key", pg.JSONB, nullable=False, comment="The row's primary key"),
    sa.Column("table_row", pg.JSONB, comment="The row as the table had it"),
    sa.Column("hub_row", pg.JSONB, comment="The row as the hub has it"),
    sa.Column("table_version", sa.BigInteger),
    sa.Column("snapshot_version", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run that found and healed it"),
    sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Index("drift_found_at_idx", "found_at"),
    schema=SCHEMA,
    comment="Rows that a snapshot corrected although their history was covered, with both versions.",
)

GAPS = sa.Table(
    "gaps",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column(
        "from_height", sa.BigInteger, primary_key=True, autoincrement=False, comment="First height without events"
    ),
    sa.Column("to_height", sa.BigInteger, primary_key=True, autoincrement=False, comment="Last one, inclusive"),
    sa.Column("reason", sa.Text, nullable=False, comment="outage, poison_page or another word for the cause"),
    sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("healed_at", sa.DateTime(timezone=True), comment="Null: open"),
    sa.Column("healed_by", sa.Text, comment="Dagster run that healed it"),
    sa.Column("healed_how", sa.Text, comment="feed or snapshots"),
    schema=SCHEMA,
    comment="Holes in the ledger that were found, and how each was healed.",
)
