"""The tables of a bulk load: what is being loaded from where, which parts are done, and names' leaves meanwhile."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.tables.columns import METADATA

__all__ = ["BULK_LOAD", "BULK_LOAD_NAMES", "BULK_LOAD_PARTS", "BULK_LOAD_SHARDS"]

BULK_LOAD: Final = sa.Table(
    "bulk_load",
    METADATA,
    sa.Column("is_only", sa.Boolean, primary_key=True, server_default=sa.text("true")),
    sa.Column("source", sa.Text, nullable=False, comment="What is loaded, as a person named it"),
    sa.Column("stage", sa.Text, nullable=False, comment="Which stage is under way"),
    sa.Column("run_id", sa.Text, nullable=False, comment="Dagster run that worked on it last"),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.Column("finished_at", sa.DateTime(timezone=True), comment="Null: under way, or cut short and to be resumed"),
    sa.CheckConstraint("is_only", name="bulk_load_is_only_check"),
    schema=SCHEMA,
    comment="The bulk load that fills, or has filled, this database; while it is under way nothing is folded.",
)

BULK_LOAD_SHARDS: Final = sa.Table(
    "bulk_load_shards",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("height", sa.BigInteger, nullable=False, comment="Block whose outcome is loaded"),
    sa.Column("block_at", sa.DateTime(timezone=True), nullable=False, comment="Its time"),
    sa.Column("shard_root", pg.BYTEA, nullable=False, comment="Root of the shard's trie, as its header says"),
    sa.Column("leaves", sa.BigInteger, comment="How many leaves were proved to have that root; null: not yet"),
    schema=SCHEMA,
    comment="The shards of the bulk load, and the state that each is loaded at.",
)

BULK_LOAD_PARTS: Final = sa.Table(
    "bulk_load_parts",
    METADATA,
    sa.Column("stage", sa.Text, primary_key=True),
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("first_fid", sa.BigInteger, primary_key=True, autoincrement=False, comment="Lower 32 bits"),
    sa.Column("end_fid", sa.BigInteger, nullable=False, comment="Exclusive"),
    sa.Column("leaves", sa.BigInteger, nullable=False, comment="About how many leaves are to be read"),
    sa.Column("records", sa.BigInteger, comment="How many messages, events and keys were read; null: not done yet"),
    sa.Column("seconds", sa.Double, comment="How long that took"),
    sa.Column("done_at", sa.DateTime(timezone=True)),
    schema=SCHEMA,
    comment="Parts of the bulk load, each one transaction: of a shard the FIDs of a range.",
)

BULK_LOAD_NAMES: Final = sa.Table(
    "bulk_load_names",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("leaf", pg.BYTEA, primary_key=True),
    schema=SCHEMA,
    comment="Leaves of names, which a node keeps by name, by user while a bulk load is under way; empty afterwards.",
)
