"""Threads, mentions and counts of casts and users. `ensure_schema` derives and counts them."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_CHANGE_ID = sa.text("(pg_current_xact_id()::text)::bigint")


def upgrade() -> None:
    op.create_table(
        "cast_mentions",
        sa.Column("hash", postgresql.BYTEA(), nullable=False, comment="The cast"),
        sa.Column("mentioned_fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who is mentioned"),
        sa.Column("fid", sa.BigInteger(), comment="Author of the cast"),
        sa.Column(
            "network_time",
            sa.DateTime(timezone=True),
            comment="The cast's block_time, or its timestamp where that is not known",
        ),
        *_common(),
        sa.PrimaryKeyConstraint("hash", "mentioned_fid"),
        comment="Users mentioned in live casts, each once per cast; gone with the cast.",
    )
    op.create_table(
        "cast_threads",
        sa.Column("hash", postgresql.BYTEA(), nullable=False, comment="The cast"),
        sa.Column("fid", sa.BigInteger(), comment="Its author"),
        sa.Column(
            "root_hash",
            postgresql.BYTEA(),
            comment="First cast of the thread: the cast itself, or its highest ancestor known of, which may not be here",
        ),
        sa.Column("root_fid", sa.BigInteger(), comment="Author of the root"),
        sa.Column(
            "root_url",
            sa.Text(),
            comment="URL or channel that the root replies to; null where the root is not here",
        ),
        sa.Column("parent_hash", postgresql.BYTEA(), comment="The cast replied to"),
        sa.Column("depth", sa.Integer(), comment="Replies from the root to the cast: 0 for the root"),
        sa.Column(
            "network_time",
            sa.DateTime(timezone=True),
            comment="The cast's block_time, or its timestamp where that is not known",
        ),
        *_common(),
        sa.PrimaryKeyConstraint("hash"),
        comment="The thread of each live cast: its root, its depth, its parent. A cast that replies to none is a root.",
    )
    for table, columns, where in (
        ("cast_mentions", ["mentioned_fid", "network_time"], None),
        ("cast_threads", ["root_hash", "network_time"], None),
        ("cast_threads", ["root_url"], "root_url IS NOT NULL"),
        ("cast_mentions", ["change_id"], None),
        ("cast_threads", ["change_id"], None),
    ):
        name = f"{table}_{'_'.join(columns)}_idx"
        op.create_index(name, table, columns, postgresql_where=sa.text(where) if where else None)
    for table in ("cast_mentions", "cast_threads"):
        op.execute(f"CREATE INDEX {table}_version_idx ON public.{table} USING brin (version int8_minmax_multi_ops)")
    _count_table(
        "cast_counts",
        "How often each cast is replied to, liked, recast and quoted, by what this database has of it.",
        sa.Column("hash", postgresql.BYTEA(), nullable=False, comment="The cast, which may not be here"),
        replies="Live casts that reply to it",
        likes="Live likes",
        recasts="Live recasts",
        quotes="Embeds of it in live casts",
    )
    _count_table(
        "user_counts",
        "How many follow each user, whom she follows, what she cast and received, by what this database has.",
        sa.Column("fid", sa.BigInteger(), autoincrement=False, nullable=False, comment="The user"),
        followers="Live follows of the user",
        following="Live follows by the user",
        casts="Live casts, replies included",
        reactions_received="Live likes and recasts of casts that name the user as author",
    )


def _common() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column(
            "version",
            sa.BigInteger(),
            nullable=False,
            comment="Id of the event (or head of the snapshot) that last decided this row",
        ),
        sa.Column(
            "deleted_at",
            sa.DateTime(timezone=True),
            comment="When the row was deleted; null means live",
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="When the transaction began that last changed this row here",
        ),
        sa.Column(
            "change_id",
            sa.BigInteger(),
            nullable=False,
            server_default=_CHANGE_ID,
            comment="Id of the transaction that last changed this row here; api.changes_since reads on from one",
        ),
    )


def _count_table(name: str, description: str, key: sa.Column[Any], **counts: str) -> None:
    op.create_table(
        name,
        key,
        *(
            sa.Column(count, sa.BigInteger(), nullable=False, server_default="0", comment=text)
            for count, text in counts.items()
        ),
        sa.PrimaryKeyConstraint(key.name),
        comment=description,
    )
    op.execute(f"ALTER TABLE public.{name} SET (fillfactor = 70)")


def downgrade() -> None:
    for source in ("casts", "reactions", "links", "embeds"):
        for event in ("insert", "update", "delete"):
            op.execute(f"DROP FUNCTION IF EXISTS pipeline.count_{source}_{event} CASCADE")
    op.execute("DROP FUNCTION IF EXISTS pipeline.add_count_changes")
    for table in ("cast_counts", "user_counts", "cast_threads", "cast_mentions"):
        op.drop_table(table)
