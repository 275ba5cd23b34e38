"""What tables made of contract events share: each row is one event of `on_chain_events`, by the event's key."""

from collections.abc import Mapping
from typing import Final

from fc_pipeline.tables.columns import Column, ColumnType, DataTable
from fc_pipeline.tables.derived_table import DerivedTable
from fc_pipeline.tables.on_chain_events import ON_CHAIN_EVENTS

__all__ = ["BLOCK_NUMBER", "EVENT_KEY", "FID", "one_row_per_event", "whole_number"]

EVENT_KEY: Final = tuple(column for column in ON_CHAIN_EVENTS.columns if column.name in ON_CHAIN_EVENTS.key)
FID: Final = Column("fid", ColumnType.BIGINT, "For whom it was bought")
BLOCK_NUMBER: Final = Column("block_number", ColumnType.BIGINT, "Block on that chain")

_KEY: Final = ON_CHAIN_EVENTS.key
_KEY_NAMES: Final = ", ".join(_KEY)


def whole_number(field: str) -> str:
    """A body's field as bigint; null where it is none: contracts' bodies are kept as the hub sends them."""
    return f"CASE WHEN e.body->>'{field}' ~ '^[0-9]{{1,18}}$' THEN (e.body->>'{field}')::bigint END"


def one_row_per_event(table: DataTable, event_type: str, columns: Mapping[str, str]) -> DerivedTable:
    """A table with a row per live event of a type; `columns` is SQL, by name, over the event `e`."""
    own = {**columns, **{name: f"e.{name}" for name in (*_KEY, "fid", "block_number", "version", "deleted_at")}}
    of_scope = " AND ".join(f"r.{name} = s.{name}" for name in _KEY)
    return DerivedTable(
        table=table,
        scope=_KEY,
        touched={ON_CHAIN_EVENTS.name: f"SELECT {_KEY_NAMES} FROM {{rows}} AS r WHERE r.type = '{event_type}'"},
        rows=(
            f"SELECT {', '.join(f'{own[name]} AS {name}' for name in table.names)} FROM {{scope}} AS s "
            f"CROSS JOIN LATERAL (SELECT * FROM {ON_CHAIN_EVENTS.qualified} AS r WHERE {of_scope} OFFSET 0) AS e "
            f"WHERE e.type = '{event_type}' AND e.deleted_at IS NULL"
        ),
        of_fids=(
            f"SELECT {', '.join(f'e.{name}' for name in _KEY)} FROM {{fids}} AS p CROSS JOIN LATERAL (SELECT * FROM "
            f"{ON_CHAIN_EVENTS.qualified} AS r WHERE r.fid = p.fid AND r.type = '{event_type}' OFFSET 0) AS e"
        ),
    )
