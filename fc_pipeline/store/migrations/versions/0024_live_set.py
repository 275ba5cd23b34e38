"""The leaves of each shard's trie that no table of rows has, and digests of all leaves per FID."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "other_leaves",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False, comment="Whose feed says so"),
        sa.Column(
            "fid",
            sa.BigInteger,
            primary_key=True,
            autoincrement=False,
            comment="Under whom it stands: of a lend lender and borrower",
        ),
        sa.Column("leaf", pg.BYTEA, primary_key=True, comment="Type byte, then the message's hash or the padded fname"),
        sa.Column("link_type", sa.Text, comment="Of a LINK_REMOVE or LINK_COMPACT_STATE"),
        sa.Column(
            "timestamp",
            sa.DateTime(timezone=True),
            comment="Of a LINK_REMOVE: one made up to a compact state's time is gone",
        ),
        sa.Column(
            "version",
            sa.BigInteger,
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), comment="When the row was deleted; null means live"),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="When the transaction began that last changed this row here",
        ),
        sa.Column(
            "change_id",
            sa.BigInteger,
            nullable=False,
            server_default=sa.text("txid_current()"),
            comment="Id of the transaction that last changed this row here; api.changes_since reads on from one",
        ),
        schema="pipeline",
        comment="Leaves of each shard's trie that are no rows of another table; one that is gone has deleted_at.",
    )
    op.create_table(
        "fid_digests",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column(
            "virtual_shard",
            sa.SmallInteger,
            primary_key=True,
            autoincrement=False,
            comment="First byte of the FID's keys",
        ),
        sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("leaves", sa.BigInteger, nullable=False, comment="Live records of the FID on this shard"),
        sa.Column("hash", pg.BYTEA, nullable=False, comment="Of the FID's node in the shard's trie, 20 bytes"),
        schema="pipeline",
        comment="What each shard's trie has of each FID, but for FIDs that were touched since.",
    )
    op.create_table(
        "touched_fids",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column(
            "fids", pg.ARRAY(sa.BigInteger), nullable=False, comment="Of whom a transaction may have changed leaves"
        ),
        schema="pipeline",
        comment="FIDs whose digests are older than their rows, a line per micro-batch.",
    )
    op.create_table(
        "stale_fids",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fid", sa.BigInteger, primary_key=True, autoincrement=False),
        schema="pipeline",
        comment="The same FIDs, each once, on their way to new digests.",
    )
    op.create_table(
        "digested_shards",
        sa.Column("shard", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("listed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        schema="pipeline",
        comment="Shards of which every FID was listed once to get a digest; since then those that are touched are.",
    )


def downgrade() -> None:
    for table in ("digested_shards", "stale_fids", "touched_fids", "fid_digests", "other_leaves"):
        op.drop_table(table, schema="pipeline")
