"""Writes Arrow tables: by COPY straight into tables what nobody else writes, each row once; else by a merge."""

from typing import Final

import pyarrow as pa

from fc_pipeline.fold import merging
from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.columns import ColumnType, DataTable

__all__ = ["ROWS_AT_A_TIME", "load", "merge_rows"]

ROWS_AT_A_TIME: Final = 20_000
"""How many rows a reader holds before it writes them."""

_JSONB_VERSION: Final = "\x01"
"""What precedes the text of a jsonb value in a binary COPY."""


def load(session: WriterSession, table: DataTable, rows: pa.Table) -> None:
    """COPY rows (the table's Arrow schema) into the table; the database adds its stamps."""
    if len(rows):
        session.copy_into(table.schema, table.name, _binary(table, rows))


def merge_rows(session: WriterSession, table: DataTable, rows: pa.Table) -> None:
    """Merge rows (the table's Arrow schema) in a session's transaction: others may have the same ones."""
    session.execute(merging.create_staging(table))
    session.copy(merging.stage_name(table), rows)
    session.execute(merging.merge(table))
    session.execute(f"DELETE FROM {merging.stage_name(table)}")


def _binary(table: DataTable, rows: pa.Table) -> pa.Table:
    """The rows with their JSON as a binary COPY takes it into a jsonb column."""
    for place, column in enumerate(table.columns):
        if column.type is ColumnType.JSONB:
            texts = pa.array(
                [None if text is None else _JSONB_VERSION + text for text in rows.column(place).to_pylist()],
                column.type.arrow,
            )
            rows = rows.set_column(place, rows.schema.field(place), texts)
    return rows
