"""An hour's raw log compared with what the ledger covers."""

import time
from collections.abc import Collection, Iterable, Sequence
from typing import Final

from fc_pipeline.errors import LakeError
from fc_pipeline.heights import HeightRange, without
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger

__all__ = ["covered_heights", "files_of", "ledger_and_log", "not_held", "refuse_missing"]

LOCAL_PAUSES_SECONDS: Final = (0.0, 0.1)
LISTING_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0)
"""Object stores list new objects at once; some gateways and replicas in front of them lag."""


def covered_heights(replica: Replica, shard: int, hour: Hour, tables: Collection[str] = ()) -> list[HeightRange]:
    """What the ledger covers of a shard's hour, in ascending order: of that what was written to all of `tables`."""
    with replica.engine.connect() as connection:
        return ledger.covered(connection, shard, partition=hour.key, tables=list(tables))


def ledger_and_log(replica: Replica, shard: int, hour: Hour) -> tuple[list[HeightRange], list[LogFile]]:
    """What the ledger covers of a shard's hour and the log's files of it.

    A file is written before its heights are covered: the ledger is read first, so that the files hold all it covers.
    """
    covered = covered_heights(replica, shard, hour)
    return covered, files_of(replica, shard, hour, covered)


def files_of(replica: Replica, shard: int, hour: Hour, covered: Sequence[HeightRange]) -> list[LogFile]:
    """The log's files of a shard's hour.

    Where files of `covered` heights do not show, it is listed again: they may just be joined to another one, which a
    listing can miss, or the store's listings lag behind what was written. Only what does not show then is lost.
    """
    files = replica.log.files(hour, shard)
    for pause_seconds in LOCAL_PAUSES_SECONDS if replica.log.is_local else LISTING_PAUSES_SECONDS:
        if not not_held(covered, files):
            break
        time.sleep(pause_seconds)
        files = replica.log.files(hour, shard)
    return files


def not_held(heights: Sequence[HeightRange], files: Iterable[LogFile]) -> list[HeightRange]:
    """The heights that none of these files holds."""
    return without(heights, [HeightRange(file.from_height, file.to_height) for file in files])


def refuse_missing(hour: Hour, shard: int, covered: Sequence[HeightRange], files: Sequence[LogFile]) -> None:
    """Raise LakeError, naming them, where no file holds heights that the ledger covers."""
    missing = not_held(covered, files)
    if missing:
        raise LakeError(
            f"the raw log lacks heights {missing[0].first}-{missing[0].last} of shard {shard} in hour {hour.key}, "
            "though they were folded once",
            hint="restore the lake's files, or point FC_LAKE_URI at where they are",
        )
