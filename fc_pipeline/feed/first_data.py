"""The start of the data: from FC_START, the raw log, and the origin of each shard."""

from fc_pipeline.hours import Hour
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger, partition_start

__all__ = ["place_partition_start"]


def place_partition_start(replica: Replica, *, by_log: bool = False) -> Hour | None:
    """Move the start of partitions back to the first data that are known; gives it, or None while nothing is known.

    With `by_log`, the raw log's folders are listed, too: earlier ones may have been copied there.
    """
    with replica.engine.connect() as connection:
        hours = [Hour.of(origin.at.timestamp()) for origin in ledger.origins(connection).values()]
        stored = partition_start.stored_start(connection)
    if replica.settings.start is not None:
        hours = [Hour.of(replica.settings.start.timestamp())]
    if by_log or (stored is None and hours):
        hours += replica.log.hours()[:1]
    return partition_start.move_back(replica.engine, min(hours)) if hours else stored
