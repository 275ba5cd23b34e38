"""The pipeline's own tables, schema `pipeline`: ledger, totals, quarantine, leases, snapshots, gaps, targets, keys."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.tables.columns import METADATA

__all__ = [
    "COVERAGE",
    "DRIFT",
    "FID_LISTINGS",
    "FORMER_TARGETS",
    "GAPS",
    "HOUR_EVENTS",
    "HOUR_ROWS",
    "HUB_REQUESTS",
    "KEY_SEARCH",
    "LAKE",
    "LEASES",
    "LISTED_FIDS",
    "NO_OVERLAP",
    "PARTITION_START",
    "QUARANTINE",
    "REMOVALS",
    "SCHEMA",
    "SHARDS",
    "SNAPSHOTS",
    "SNAPSHOT_ROUNDS",
    "TARGETS",
    "TARGET_CLIENTS",
    "TARGET_DENIALS",
    "TARGET_ROOTS",
    "TARGET_SET",
    "TARGET_SIGN_UPS",
    "UNEXPLAINED_KEYS",
    "UNREAD_KEYS",
]

SCHEMA = "pipeline"

_now = sa.text("now()")
NO_OVERLAP = "int8range((shard::bigint << 50) + from_height, (shard::bigint << 50) + to_height, '[]')"
"""A line's heights as one range type over (shard, height), so that no extension is needed to forbid overlaps."""

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
    # Null: folded by a release that did not keep it.
    sa.Column("events_with_rows", sa.BigInteger, comment="Of the events, those with rows for one of tables"),
    sa.Column("events_written", sa.BigInteger, comment="Of these, those of which a row was written"),
    sa.Column("events_without_rows", sa.BigInteger, comment="Events that no table is made of"),
    sa.Column("events_filtered", sa.BigInteger, comment="Events of no target, or of none of tables"),
    sa.Column("events_quarantined", sa.BigInteger, comment="Events that are in quarantine and in no table"),
    sa.Column("quarantined", sa.BigInteger, comment="Records put into quarantine, notes included"),
    sa.Column("micro_batches", sa.BigInteger, comment="Transactions that folded these heights"),
    sa.Column("bytes", sa.BigInteger, comment="Size of the events as the hub sent them"),
    sa.Column("naive_rows", sa.BigInteger, comment="Rows that one write per message would have written"),
    sa.Column("rows_filtered", sa.BigInteger, comment="Rows that concern no target"),
    sa.Column("postgres_seconds", sa.Double, comment="Time that these transactions took"),
    sa.CheckConstraint("from_height <= to_height", name="coverage_range_check"),
    pg.ExcludeConstraint((sa.text(NO_OVERLAP), "&&"), using="gist", name="coverage_no_overlap"),
    sa.Index("coverage_partition_idx", "partition", "shard"),
    sa.Index("coverage_committed_at_idx", "committed_at"),
    schema=SCHEMA,
    comment="Ledger of folded height ranges: no overlap ever, and a hole is work to do.",
)

HOUR_ROWS = sa.Table(
    "hour_rows",
    METADATA,
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
    schema=SCHEMA,
    comment="What folding an hour's blocks for the first time wrote to each table; folding them again adds nothing.",
)

HOUR_EVENTS = sa.Table(
    "hour_events",
    METADATA,
    sa.Column("partition", sa.Text, primary_key=True, comment="The hour, as Dagster's partition key"),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("event_type", sa.Text, primary_key=True, comment="Of the message that was merged, else of the event"),
    sa.Column("events", sa.BigInteger, nullable=False, comment="Events read, whatever became of them"),
    schema=SCHEMA,
    comment="An hour's events by type, counted when its blocks were folded for the first time.",
)

PARTITION_START = sa.Table(
    "partition_start",
    METADATA,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="There is one line"),
    sa.Column("start_at", sa.DateTime(timezone=True), nullable=False, comment="Midnight (UTC) before the first data"),
    sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.CheckConstraint("is_only", name="partition_start_is_only_check"),
    schema=SCHEMA,
    comment="Where Dagster's hourly partitions begin: moves back when earlier data come, never forward.",
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
    sa.Column(
        "resolved_at", sa.DateTime(timezone=True), comment="When a replay folded it; of a note, when it was made"
    ),
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
    sa.Column(
        "leaves_versions",
        pg.ARRAY(sa.BigInteger),
        comment="By shard the event id as of which the newest folded snapshot has all leaves that are no rows",
    ),
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
    sa.Column("listing", sa.BigInteger, comment="Id of the list of FIDs that it goes by; null: named by its scope"),
    schema=SCHEMA,
    comment="Rounds of snapshots over a bucket's FIDs.",
)

FID_LISTINGS = sa.Table(
    "fid_listings",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("name", sa.Text, comment="By which runs that share a round find it; null: of one run"),
    sa.Column("buckets", pg.ARRAY(sa.Integer), nullable=False, comment="Whose FIDs are kept: fid % 256"),
    sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    schema=SCHEMA,
    comment="Lists of all FIDs, one per round of snapshots: by hubs, and those that only the tables know.",
)

LISTED_FIDS = sa.Table(
    "listed_fids",
    METADATA,
    sa.Column("listing", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("bucket", sa.Integer, primary_key=True, autoincrement=False, comment="fid % 256"),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("page", sa.Integer, primary_key=True, autoincrement=False, comment="0: what only the tables know"),
    sa.Column("fids", pg.ARRAY(sa.BigInteger), nullable=False),
    schema=SCHEMA,
    comment="The FIDs of a listing, by bucket, as they came.",
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

LAKE = sa.Table(
    "lake",
    METADATA,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="There is one line"),
    sa.Column("lake_id", sa.Text, nullable=False, comment="As in the lake's fc_pipeline_lake.json"),
    sa.Column("place", sa.Text, nullable=False, comment="FC_LAKE_URI when it was adopted, without keys"),
    sa.Column("adopted_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.CheckConstraint("is_only", name="lake_is_only_check"),
    schema=SCHEMA,
    comment="The lake that this database goes with: no other one is written to or read.",
)

TARGET_SET = sa.Table(
    "target_set",
    METADATA,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="There is one line"),
    sa.Column("mode", sa.Text, nullable=False, comment="What the tables are of: all users, or the target set"),
    sa.Column("generation", sa.BigInteger, nullable=False, server_default="0", comment="Grows with every change"),
    sa.Column("mentions", sa.Boolean, nullable=False, server_default=sa.text("true"), comment="Whether mentions count"),
    sa.Column("cache_key", sa.Text, nullable=False, comment="What the set's keys in Redis begin with"),
    sa.Column("trimmed_at", sa.DateTime(timezone=True), comment="Null: rows that no target explains may be left"),
    sa.CheckConstraint("is_only", name="target_set_is_only_check"),
    sa.CheckConstraint("mode IN ('all', 'set')", name="target_set_mode_check"),
    schema=SCHEMA,
    comment="Of whom this database is, and the generation of its target set.",
)

TARGETS = sa.Table(
    "targets",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.Text, nullable=False, comment="root, client (signed up through one) or followed"),
    sa.Column("via_fid", sa.BigInteger, comment="The root that follows, or the client signed up through"),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("generation", sa.BigInteger, nullable=False, comment="Of the set, when this line came or changed"),
    sa.Column("synced_at", sa.DateTime(timezone=True), comment="When its history became complete; null: to be fetched"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="Fetches that failed since then"),
    sa.Column("tried_at", sa.DateTime(timezone=True), comment="When its history was last asked for in vain"),
    sa.Column("failure", sa.Text, comment="Why that failed"),
    sa.Index("targets_generation_idx", "generation"),
    sa.Index("targets_unsynced_idx", "fid", postgresql_where=sa.text("synced_at IS NULL")),
    sa.Index("targets_via_idx", "via_fid", postgresql_where=sa.text("reason = 'followed'")),
    schema=SCHEMA,
    comment="The FIDs to index, each with the reason why; Redis holds a copy.",
)

FORMER_TARGETS = sa.Table(
    "former_targets",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("reason", sa.Text, nullable=False, comment="Why it was a target"),
    sa.Column("via_fid", sa.BigInteger),
    sa.Column("since", sa.DateTime(timezone=True), nullable=False),
    sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("generation", sa.BigInteger, nullable=False, comment="Of the set, when it was taken out"),
    sa.Column("policy", sa.Text, comment="What became of its rows: keep (they stay as they were) or drop; null: to do"),
    sa.Column("settled_at", sa.DateTime(timezone=True), comment="When"),
    sa.Index("former_targets_generation_idx", "generation"),
    sa.Index("former_targets_unsettled_idx", "fid", postgresql_where=sa.text("settled_at IS NULL")),
    schema=SCHEMA,
    comment="FIDs that are targets no more, and what became of their rows.",
)

TARGET_ROOTS = sa.Table(
    "target_roots",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("named_by", sa.Text, nullable=False, comment="settings (FC_ROOT_FIDS) or command"),
    sa.Column("follows", sa.Boolean, nullable=False, comment="Whether those whom it follows are targets, too"),
    sa.Column("most_followed", sa.Integer, comment="At most so many of them, the longest followed; null: all"),
    sa.Column("named_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    schema=SCHEMA,
    comment="The users whom the owner named.",
)

TARGET_CLIENTS = sa.Table(
    "target_clients",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False, comment="The app's FID"),
    sa.Column("metadata_prefix", sa.Text, nullable=False, comment="How a signer's metadata begins that it asked for"),
    sa.Column("most_followed", sa.Integer, comment="As of a root, for each of its users"),
    sa.Column("watched_since", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("searched_at", sa.DateTime(timezone=True), comment="When the raw log was searched for its users"),
    schema=SCHEMA,
    comment="The apps (FC_CLIENT_FIDS) whose users are targets.",
)

TARGET_SIGN_UPS = sa.Table(
    "target_sign_ups",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("client_fid", sa.BigInteger, primary_key=True, autoincrement=False, comment="The app signed up through"),
    sa.Column("signed_up_at", sa.DateTime(timezone=True), comment="Block time of the signer's contract event"),
    schema=SCHEMA,
    comment="Users who added a signer that a watched app had asked for.",
)

TARGET_DENIALS = sa.Table(
    "target_denials",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("named_by", sa.Text, nullable=False, comment="settings (FC_DENY_FIDS) or command"),
    sa.Column("denied_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    schema=SCHEMA,
    comment="FIDs that are no targets, whoever follows them.",
)

UNEXPLAINED_KEYS = sa.Table(
    "unexplained_keys",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False, comment="Whose message it signed"),
    sa.Column("key", pg.BYTEA, primary_key=True),
    sa.Column("found_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("asked_at", sa.DateTime(timezone=True), comment="When the user's keys were last read in vain"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0", comment="How often; after three it is left"),
    schema=SCHEMA,
    comment="Keys that signed messages and that no row of signers has.",
)

UNREAD_KEYS = sa.Table(
    "unread_keys",
    METADATA,
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("tried_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Column("failure", sa.Text, nullable=False, comment="Why the hub gave no answer"),
    schema=SCHEMA,
    comment="Users whose gasless keys a hub could not be asked for: left alone for a day.",
)

KEY_SEARCH = sa.Table(
    "key_search",
    METADATA,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="There is one line"),
    sa.Column("searched_at", sa.DateTime(timezone=True), comment="Until when what was folded was searched for keys"),
    sa.Column("lacking_at", sa.DateTime(timezone=True), comment="When the hub was found to have no such endpoint"),
    sa.CheckConstraint("is_only", name="key_search_is_only_check"),
    schema=SCHEMA,
    comment="How far the search for unexplained keys has come.",
)

REMOVALS = sa.Table(
    "removals",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("key", pg.JSONB, nullable=False, comment="The row's key, by column"),
    sa.Column(
        "change_id",
        sa.BigInteger,
        nullable=False,
        server_default=sa.text("txid_current()"),
        comment="Id of the transaction that deleted it",
    ),
    sa.Column("removed_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    sa.Index("removals_table_name_change_id_idx", "table_name", "change_id"),
    schema=SCHEMA,
    comment="Rows that were deleted, not left as tombstones, for those who pull changes (api.changes_since).",
)

HUB_REQUESTS = sa.Table(
    "hub_requests",
    METADATA,
    sa.Column("hub", sa.Text, primary_key=True, comment="Its address, without anything secret"),
    sa.Column("requests", sa.BigInteger, nullable=False, comment="Requests that runs have sent to it"),
    sa.Column("failures", sa.BigInteger, nullable=False, comment="Of these, those without a usable answer"),
    sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False, server_default=_now),
    schema=SCHEMA,
    comment="Requests to each hub, added up by each run at its end.",
)
