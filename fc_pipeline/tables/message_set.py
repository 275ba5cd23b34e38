"""How a table of signed messages is declared: which messages make and unmake its rows, and where a hub lists them."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pyarrow as pa

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.columnar import Rejects
from fc_pipeline.tables.columns import DataTable, Row
from fc_pipeline.tables.message import Adds, Deletion, Extract

__all__ = ["MessageSet"]

Tombstone = Callable[[Message, int, Deletion], Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSet:
    """One message set. What folds the feed, folds snapshots and compares them goes by these declarations alone.

    An add is a row in two steps, for a row at a time is slow: `extract` takes the values out of one message while it is
    at hand, `to_arrow` makes the rows of many of them. `tombstone` makes the row of an add that was pruned, revoked or
    displaced, `removed` that of what a message of `remove_type` removes. All raise ValueError for a message that no
    row can hold. `storage_type` is the set's name in the storage limits (hub-api 6.2), `list_by_fid` asks a hub for all
    live messages of an FID; `lists_removes` says that removes are among the answer.
    """

    table: DataTable
    add_type: str
    extract: Callable[[Message], Extract]
    to_arrow: Callable[[Adds, Rejects], pa.Table]
    tombstone: Tombstone
    storage_type: str
    list_by_fid: Callable[[HubReads, int], AsyncIterator[list[bytes]]]
    remove_type: str | None = None
    removed: Tombstone | None = None
    lists_removes: bool = False

    def __post_init__(self) -> None:
        if (self.remove_type is None) != (self.removed is None) or (self.lists_removes and self.removed is None):
            raise ValueError(f"{self.table.name}: a type of removes and what makes rows of them belong together")

    @property
    def name(self) -> str:
        """The table's name, which is also the kind of the set's records in the lake."""
        return self.table.name
