"""How a table is declared whose rows follow from those of other tables, in whatever order these came."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from fc_pipeline.tables.columns import DataTable

__all__ = ["DerivedTable", "NewRows"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewRows:
    """How to derive at once what follows from live rows that a transaction has just written, and from no others.

    `columns` are those of the temporary table `name` that keeps these rows of `source` as they now are: name, type, and
    SQL for the value in a row `t`. `rows` is SQL for all rows of the derived table that they make or change.
    """

    name: str
    source: str
    columns: tuple[tuple[str, str, str], ...]
    rows: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DerivedTable:
    """One derived table. What folds, corrects and compares it goes by this declaration alone.

    Rows are derived together that agree in the columns `scope`, part of their key. `touched` says per source (a message
    table) in which scopes a row of it may matter: SQL for the scope's columns of the rows of `{rows}`, which has the
    source's columns. `rows` is SQL for the rows, columns by name, of the scopes in `{scope}`, each of which it has
    once. `of_fids` is SQL for the scopes of the users in `{fids}` (column fid), by what the sources have of them.
    `kept_by` is SQL for the source's rows that keep a row `t` of the table, which is deleted without any; None where
    the feed only ever changes rows.
    A row of `shared_sources` may touch scopes whose other sources belong to another shard, where a fold may derive the
    same row at this moment. The scopes that a row of `through_rows` touches are found through rows of the table itself,
    which a fold of another shard may be about to make. `one_at_a_time`: a row follows from other rows of the table, so
    no two transactions derive any at once. `lost` says per source in which scopes rows of `{rows}` may leave rows
    without what keeps them; where it says nothing, that may be so in each that they touch.
    `looks_up_scope`: `rows` looks scopes up in their staging table, by name.
    `new_rows` is a shorter way for live rows of the only source, where it is taken first.
    `all_rows` is SQL for every row at once, for filling an empty table from sources that are read through; without it
    `rows` of all scopes have to do.
    `{rows}`, `{scope}` and `{fids}` may be queries: each is followed by `AS` and a name, as Postgres 15 wants it.
    """

    table: DataTable
    scope: tuple[str, ...]
    touched: Mapping[str, str]
    rows: str
    of_fids: str
    kept_by: str | None = None
    shared_sources: tuple[str, ...] = ()
    through_rows: tuple[str, ...] = ()
    one_at_a_time: bool = False
    looks_up_scope: bool = False
    lost: Mapping[str, str] = field(default_factory=dict[str, str])
    new_rows: NewRows | None = None
    all_rows: str | None = None

    def __post_init__(self) -> None:
        if not set(self.scope) <= set(self.table.key):
            raise ValueError(f"{self.table.name}: the scope is part of the key")
        if "fid" not in self.table.names:
            raise ValueError(f"{self.table.name}: a derived row says whose it is, in the column fid")
        for sql in (*self.touched.values(), *self.lost.values(), self.rows, self.of_fids):
            if re.search(r"\{(rows|scope|fids)\}(?! AS )", sql):
                raise ValueError(f"{self.table.name}: a relation without a name in {sql.strip()!r}")

    @property
    def name(self) -> str:
        """The table's name."""
        return self.table.name

    @property
    def sources(self) -> tuple[str, ...]:
        """The tables whose rows it is derived from."""
        return tuple(self.touched)
