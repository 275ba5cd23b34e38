"""Views over the tables, for people: created where they are missing, as after a DROP TABLE … CASCADE."""

from typing import Final

import sqlalchemy as sa

from fc_pipeline.store.query import absent
from fc_pipeline.tables.storage import STORAGE_VIEW

__all__ = ["create_missing", "missing"]

_VIEWS: Final = {"public.storage": STORAGE_VIEW}


def missing(connection: sa.Connection) -> set[str]:
    """The names, with their schema, of views that the database lacks."""
    return absent(connection, list(_VIEWS))


def create_missing(connection: sa.Connection) -> None:
    """Create the views that the database lacks."""
    for name in sorted(missing(connection)):
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {_VIEWS[name].query}")
        for column, text in _VIEWS[name].columns.items():
            comment = text.replace("'", "''")
            connection.exec_driver_sql(f"COMMENT ON COLUMN {name}.{column} IS '{comment}'")
