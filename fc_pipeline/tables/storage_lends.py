"""`storage_lends`: storage units that one FID lends to another (protocol-tables 2.2)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa

from fc_pipeline.hub.wire import LendStorageBody, Message
from fc_pipeline.tables.columnar import Rejects, named_column
from fc_pipeline.tables.columns import ArrowArray, Column, ColumnType, Comparison, DataTable, Index, Row
from fc_pipeline.tables.encoding import said_as
from fc_pipeline.tables.message import (
    DELETED_REASON,
    ENVELOPE,
    ENVELOPE_VALUES,
    HASH,
    TIMESTAMP,
    Adds,
    Deletion,
    Extract,
    envelope_of,
    live_rows,
    tombstone,
)
from fc_pipeline.tables.message_set import Body, MessageSet

__all__ = ["LEND_SET", "STORAGE_LENDS"]

STORAGE_LENDS: Final = DataTable(
    name="storage_lends",
    group="storage",
    description="Who lends storage to whom; a lend lasts until the lender ends it. Only the feed tells of lends.",
    sql_example=(
        "SELECT fid AS lender, count(*) AS borrowers, sum(units) AS units FROM storage_lends\n"
        "WHERE deleted_at IS NULL GROUP BY 1 ORDER BY 3 DESC LIMIT 20;"
    ),
    key=("fid", "to_fid"),
    columns=(
        Column("fid", ColumnType.BIGINT, "Who lends", nullable=False),
        Column("to_fid", ColumnType.BIGINT, "Who borrows", nullable=False),
        Column("units", ColumnType.BIGINT, "How many units"),
        Column("unit_type", ColumnType.TEXT, "legacy, 2024 or 2025: how much a unit holds"),
        TIMESTAMP,
        HASH,
        *ENVELOPE,
        DELETED_REASON,
    ),
    indexes=(Index(("to_fid",), serves="what was lent to a user: view `storage`"),),
    concerns=("fid", "to_fid"),
    comparison=Comparison.NONE,
    is_of_one_shard=True,
)

# Snapchain's spelling and that of the protocol's libraries (hub-api T20).
_UNIT_TYPES: Final = {
    "UnitTypeLegacy": "legacy",
    "UnitType2024": "2024",
    "UnitType2025": "2025",
    "UNIT_TYPE_LEGACY": "legacy",
    "UNIT_TYPE_2024": "2024",
    "UNIT_TYPE_2025": "2025",
}


def _extract(message: Message) -> Extract:
    """What the row of a LEND_STORAGE needs. Raises ValueError for one without its body."""
    body = _body(message)
    return (*envelope_of(message), body.toFid, body.numUnits, body.unitType)


def _to_arrow(adds: Adds, rejects: Rejects) -> pa.Table:
    """LEND_STORAGEs → their live rows; one of 0 units is pruned by the event that follows it."""
    columns = adds.columns(ENVELOPE_VALUES + 3)
    to_fids, units, kinds = columns[ENVELOPE_VALUES:]
    own: dict[str, ArrowArray] = {
        "to_fid": pa.array(to_fids, type=pa.int64()),
        "units": pa.array(units, type=pa.int64()),
        "unit_type": named_column(_UNIT_TYPES, kinds, "unit type", rejects),
    }
    return live_rows(STORAGE_LENDS, adds, columns[:ENVELOPE_VALUES], own, rejects)


def _tombstone(message: Message, version: int, deletion: Deletion) -> Row:
    """A lend that was ended or replaced → the tombstone of its key."""
    return tombstone(STORAGE_LENDS, (message.data.fid, _body(message).toFid), version, deletion)


def _body(message: Message) -> LendStorageBody:
    body = message.data.lendStorageBody
    if body is None:
        raise ValueError(f"{message.data.type} without lendStorageBody")
    return body


def _said(row: Mapping[str, Any]) -> Iterator[Body]:
    """The body of a row's LEND_STORAGE."""
    yield {
        "toFid": row["to_fid"],
        "numUnits": row["units"],
        "unitType": said_as(_UNIT_TYPES, row["unit_type"]),
    }


LEND_SET: Final = MessageSet(
    table=STORAGE_LENDS,
    add_type="MESSAGE_TYPE_LEND_STORAGE",
    extract=_extract,
    to_arrow=_to_arrow,
    tombstone=_tombstone,
    said=_said,
)
