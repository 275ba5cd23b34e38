"""The reference of the tables, made from their declarations: `python -m fc_pipeline.tables.reference`."""

import sys
from collections.abc import Iterator

from fc_pipeline.tables.columns import DataTable
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["tables_markdown"]

_HEAD = """# Tables

Schema `public`. Made from the declarations in `fc_pipeline/tables/`: `python -m fc_pipeline.tables.reference`.

A row is live where `deleted_at` is null. `version` is the id of the event that last decided the row: an event changes
a row only if its own id is higher. Deleted rows keep their key only, so that a late older event cannot bring them back.
"""


def tables_markdown() -> str:
    """The reference as Markdown."""
    return "\n".join([_HEAD, *(line for table in DATA_TABLES.values() for line in _section(table))])


def _section(table: DataTable) -> Iterator[str]:
    yield f"## {table.name}\n\n{table.description} Key: `{', '.join(table.key)}`.\n"
    yield "| column | type | |\n|---|---|---|"
    for column in table.columns:
        text = column.description.replace("|", "\\|")
        yield f"| `{column.name}` | {column.type.postgres} | {text} |"
    yield ""


if __name__ == "__main__":
    sys.stdout.write(tables_markdown())
