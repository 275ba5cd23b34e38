"""The tables of digests: per shard and FID how many leaves there are and their hash, and what is to be hashed anew."""

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from fc_pipeline.store.bookkeeping import SCHEMA
from fc_pipeline.tables.columns import METADATA

__all__ = ["DIGESTED_SHARDS", "DIGEST_TABLES", "FID_DIGESTS", "STALE_FIDS", "TOUCHED_FIDS"]

FID_DIGESTS: Final = sa.Table(
    "fid_digests",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column(
        "virtual_shard", sa.SmallInteger, primary_key=True, autoincrement=False, comment="First byte of the FID's keys"
    ),
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("leaves", sa.BigInteger, nullable=False, comment="Live records of the FID on this shard"),
    sa.Column("hash", pg.BYTEA, nullable=False, comment="Of the FID's node in the shard's trie, 20 bytes"),
    schema=SCHEMA,
    comment="What each shard's trie has of each FID, but for FIDs that were touched since.",
)

TOUCHED_FIDS: Final = sa.Table(
    "touched_fids",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("shard", sa.Integer, nullable=False),
    sa.Column("fids", pg.ARRAY(sa.BigInteger), nullable=False, comment="Of whom a transaction may have changed leaves"),
    schema=SCHEMA,
    comment="FIDs whose digests are older than their rows, a line per micro-batch.",
)

STALE_FIDS: Final = sa.Table(
    "stale_fids",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
    schema=SCHEMA,
    comment="The same FIDs, each once, on their way to new digests.",
)

DIGESTED_SHARDS: Final = sa.Table(
    "digested_shards",
    METADATA,
    sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    schema=SCHEMA,
    comment="Shards of which every FID was listed once to get a digest; since then those that are touched are.",
)

DIGEST_TABLES: Final = (FID_DIGESTS, TOUCHED_FIDS, STALE_FIDS, DIGESTED_SHARDS)
