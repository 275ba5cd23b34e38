"""COPY of Arrow tables straight into tables, without staging: rows that nobody else writes, each once."""

from typing import Final

import pyarrow as pa

from fc_pipeline.store.writer_session import WriterSession
from fc_pipeline.tables.columns import ColumnType, DataTable

__all__ = ["load"]

_JSONB_VERSION: Final = "\x01"
"""What precedes the text of a jsonb value in a binary COPY."""


def load(session: WriterSession, table: DataTable, rows: pa.Table) -> None:
    """COPY rows (the table's Arrow schema) into the table; the database adds its stamps."""
    if len(rows):
        session.copy_into(table.schema, table.name, _binary(table, rows))


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
