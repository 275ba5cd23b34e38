"""How a table of signed messages is declared: which messages make and unmake its rows, and where a hub lists them."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import Message
from fc_pipeline.tables.columnar import Rejects
from fc_pipeline.tables.columns import DataTable, Row
from fc_pipeline.tables.message import Adds, Deletion, Extract

__all__ = ["Body", "MessageSet"]

Tombstone = Callable[[Message, int, Deletion], Row]

Body = Mapping[str, Any]
"""A message's body: values by the names that they have in the hub's JSON, hashes and keys as bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSet:
    """One message set. What folds the feed, folds snapshots and compares them goes by these declarations alone.

    An add is a row in two steps, for a row at a time is slow: `extract` takes the values out of one message while it is
    at hand, `to_arrow` makes the rows of many of them. `tombstone` makes the row of an add that was pruned, revoked or
    displaced, `removed` that of what a message of `remove_type` removes. All raise ValueError for a message that no row
    can hold. `storage_type` is the set's name in the storage limits (hub-api 6.2), `list_by_fid` asks a hub for all
    live messages of an FID: none for what only the feed tells of; `lists_removes` says that removes are among the
    answer. `only_of_home_shard`: other shards carry copies of the messages, whose events mean nothing for the row
    (protocol-tables 5). `said` gives what the message of a live row may have said (proof.message_schema), from the
    row's values by column; its author's FID is in column `author`.
    """

    table: DataTable
    add_type: str
    extract: Callable[[Message], Extract]
    to_arrow: Callable[[Adds, Rejects], pa.Table]
    tombstone: Tombstone
    said: Callable[[Mapping[str, Any]], Iterable[Body]]
    author: str = "fid"
    storage_type: str | None = None
    list_by_fid: Callable[[HubReads, int], AsyncIterator[list[bytes]]] | None = None
    remove_type: str | None = None
    removed: Tombstone | None = None
    lists_removes: bool = False
    only_of_home_shard: bool = False

    def __post_init__(self) -> None:
        if (self.remove_type is None) != (self.removed is None) or (self.lists_removes and self.removed is None):
            raise ValueError(f"{self.table.name}: a type of removes and what makes rows of them belong together")
        if (self.storage_type is None) != (self.list_by_fid is None):
            raise ValueError(f"{self.table.name}: what a hub lists has a type of storage")

    @property
    def name(self) -> str:
        """The table's name, which is also the kind of the set's records in the lake."""
        return self.table.name

    def add(self, adds: Adds, message: Message, version: int) -> None:
        """Put an add among those that become rows. Raises ValueError."""
        adds.extracts.append(self.extract(message))
        adds.versions.append(version)

    def rows_of(self, adds: Adds) -> tuple[pa.Table, Mapping[int, ValueError]]:
        """The rows of these adds; and which of them, by their places, no row can hold, each with the reason."""
        rejects = Rejects()
        rows = self.to_arrow(adds, rejects)
        if rejects.reasons:
            is_kept = [place not in rejects.reasons for place in range(len(rows))]
            rows = rows.filter(pa.array(is_kept, type=pa.bool_()))
        return rows, rejects.reasons
