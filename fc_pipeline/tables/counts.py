"""`cast_counts` and `user_counts`: how many rows of other tables speak of a cast or a user, kept as these change."""

from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from fc_pipeline.tables.casts import CASTS
from fc_pipeline.tables.columns import METADATA, Column, ColumnType, DataTable
from fc_pipeline.tables.embeds import EMBEDS
from fc_pipeline.tables.links import LINKS
from fc_pipeline.tables.reactions import REACTIONS
from fc_pipeline.tables.storage_parameters import set_when_made, storage_parameters

__all__ = ["CAST_COUNTS", "COUNT_TABLES", "USER_COUNTS", "Count", "CountTable"]


@dataclass(frozen=True, slots=True)
class Count:
    """One count: of the live rows `r` of `source` for which `condition` holds, by what they have in `key`."""

    name: str
    description: str
    source: DataTable
    key: str
    condition: str = "true"


@dataclass(frozen=True)
class CountTable:
    """A table of counts. A key of which there is nothing to count has no row.

    What changes all the time is written in its place, for which `fillfactor` leaves room; `is_large` as of a DataTable.
    """

    name: str
    description: str
    key: Column
    counts: tuple[Count, ...]
    sql_example: str
    fillfactor: int = 70
    is_large: bool = False
    sql: sa.Table = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = sa.Table(
            self.name,
            METADATA,
            sa.Column(
                self.key.name,
                self.key.type.sql,
                primary_key=True,
                autoincrement=False,
                comment=self.key.description,
            ),
            *(
                sa.Column(one.name, sa.BigInteger, nullable=False, server_default="0", comment=one.description)
                for one in self.counts
            ),
            comment=self.description,
        )
        set_when_made(table, self.qualified, self.storage_parameters)
        object.__setattr__(self, "sql", table)

    @property
    def qualified(self) -> str:
        """The table's name with its schema."""
        return f"public.{self.name}"

    @property
    def storage_parameters(self) -> dict[str, float]:
        """Postgres' storage parameters of the table."""
        return storage_parameters(fillfactor=self.fillfactor, is_large=self.is_large)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the counts."""
        return tuple(one.name for one in self.counts)

    def of_source(self, source: DataTable) -> tuple[Count, ...]:
        """The counts of rows of a table."""
        return tuple(one for one in self.counts if one.source is source)


_FOLLOWS: Final = "r.type = 'follow'"

CAST_COUNTS: Final = CountTable(
    name="cast_counts",
    description="How often each cast is replied to, liked, recast and quoted, by what this database has of it.",
    key=Column("hash", ColumnType.BYTEA, "The cast, which may not be here", nullable=False),
    is_large=True,
    counts=(
        Count("replies", "Live casts that reply to it", CASTS, "parent_hash"),
        Count("likes", "Live likes", REACTIONS, "target_hash", "r.type = 'like'"),
        Count("recasts", "Live recasts", REACTIONS, "target_hash", "r.type = 'recast'"),
        Count("quotes", "Embeds of it in live casts", EMBEDS, "cast_hash"),
    ),
    sql_example=(
        "SELECT c.text, k.likes, k.recasts, k.replies FROM cast_counts k JOIN casts c USING (hash)\n"
        "WHERE c.deleted_at IS NULL ORDER BY k.likes DESC LIMIT 20;"
    ),
)

USER_COUNTS: Final = CountTable(
    name="user_counts",
    description="How many follow each user, whom she follows, what she cast and received, by what this database has.",
    key=Column("fid", ColumnType.BIGINT, "The user", nullable=False),
    counts=(
        Count("followers", "Live follows of the user", LINKS, "target_fid", _FOLLOWS),
        Count("following", "Live follows by the user", LINKS, "fid", _FOLLOWS),
        Count("casts", "Live casts, replies included", CASTS, "fid"),
        Count(
            "reactions_received",
            "Live likes and recasts of casts that name the user as author",
            REACTIONS,
            "target_fid",
        ),
    ),
    sql_example=(
        "SELECT p.username, u.followers, u.following, u.casts FROM user_counts u JOIN user_profiles p USING (fid)\n"
        "ORDER BY u.followers DESC LIMIT 20;"
    ),
)

COUNT_TABLES: Final = (CAST_COUNTS, USER_COUNTS)
"""All tables of counts."""
