"""What the raw log has lost: heights that the ledger covers and no whole file holds, and the files that are damaged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fc_pipeline.feed.folded_log import ledger_and_log, not_held
from fc_pipeline.heights import HeightRange, overlap
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger

__all__ = ["LostLog", "delete_replaced", "lost_log"]


@dataclass(frozen=True)
class LostLog:
    """Of one shard: heights that are to be read from the hub again, and per damaged file what is wrong with it."""

    heights: list[HeightRange] = field(default_factory=list[HeightRange])
    damaged: dict[LogFile, str] = field(default_factory=dict[LogFile, str])

    def __bool__(self) -> bool:
        return bool(self.heights or self.damaged)


def lost_log(
    replica: Replica,
    shard: int,
    hours: Iterable[Hour],
    *,
    reading: bool,
    should_stop: Callable[[], bool] = lambda: False,
) -> LostLog:
    """Compare the raw log of a shard's hours with the ledger, and its files with their checksums.

    Without `reading`, only listings are used: they show files that are missing or truncated. With it, every file is
    read, which also shows one whose content has changed; ends early, with what is found, if `should_stop` says so.
    """
    found = LostLog()
    for hour in hours:
        if should_stop():
            break
        covered, files = ledger_and_log(replica, shard, hour)
        problems = {file: replica.log.damage(file) if reading else file.wrong_length for file in files}
        found.damaged.update({file: problem for file, problem in problems.items() if problem is not None})
        found.heights.extend(not_held(covered, [file for file in files if problems[file] is None]))
    return found


def delete_replaced(replica: Replica, shard: int, lost: LostLog) -> None:
    """Delete the damaged files whose folded heights whole files hold by now."""
    for file in lost.damaged:
        with replica.engine.connect() as connection:
            covered = ledger.covered(connection, shard, partition=file.hour.key)
        folded = overlap([HeightRange(file.from_height, file.to_height)], covered)
        files = replica.log.files(file.hour, shard)
        damaged = {other: replica.log.damage(other) is not None for other in files if _overlap(other, file)}
        whole = [other for other, is_damaged in damaged.items() if not is_damaged]
        # The same content was written to the same name: then the file is whole.
        is_still_there = any(other.path == file.path and is_damaged for other, is_damaged in damaged.items())
        if is_still_there and folded and not not_held(folded, whole):
            replica.log.delete(file)


def _overlap(one: LogFile, other: LogFile) -> bool:
    return one.from_height <= other.to_height and other.from_height <= one.to_height
