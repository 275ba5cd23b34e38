"""Joins the small files that one writer has just stored, out of its memory: a store is asked to read nothing back."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import EventLog, LogFile

__all__ = ["JOINED_BYTES", "JOINED_FILES", "FileGroup", "RecentFiles"]

JOINED_FILES: Final = 60
"""How many files become one: those of a minute, with a micro-batch every second."""
JOINED_BYTES: Final = 16 * 1024 * 1024
"""Events in memory of a shard, at most; a file with more than a quarter of it is large enough as it is."""


@dataclass
class FileGroup:
    """Files of adjacent heights of a shard's hour, and their events (EVENT_LOG_SCHEMA)."""

    files: list[LogFile] = field(default_factory=list[LogFile])
    events: list[pa.Table] = field(default_factory=list[pa.Table])
    bytes: int = 0

    def is_followed_by(self, file: LogFile) -> bool:
        """Whether a file may be joined to these."""
        last = self.files[-1]
        return file.hour == last.hour and file.from_height == last.to_height + 1

    def join(self, log: EventLog) -> LogFile:
        """Put one file in the place of these. Raises LakeError."""
        return log.join(self.files, pa.concat_tables(self.events))

    @property
    def is_full(self) -> bool:
        """Whether it is time to join them."""
        return len(self.files) >= JOINED_FILES or self.bytes >= JOINED_BYTES


class RecentFiles:
    """The files that a writer has stored and not yet joined, per shard and hour. For one thread at a time."""

    def __init__(self) -> None:
        self._groups: defaultdict[tuple[int, Hour], FileGroup] = defaultdict(FileGroup)

    def add(self, file: LogFile, events: pa.Table) -> list[FileGroup]:
        """Remember a file; gives the groups that are to be joined now, each of two files or more."""
        earlier = [key for key in self._groups if key[0] == file.shard and key[1] != file.hour]
        due = [self._groups.pop(key) for key in earlier]
        key = (file.shard, file.hour)
        is_large = events.nbytes > JOINED_BYTES // 4
        group = self._groups[key]
        if group.files and (is_large or not group.is_followed_by(file)):
            due.append(self._groups.pop(key))
            group = self._groups[key]
        if not is_large:
            group.files.append(file)
            group.events.append(events)
            group.bytes += events.nbytes
        if group.is_full:
            due.append(self._groups.pop(key))
        return [one for one in due if len(one.files) > 1]

    def take_all(self) -> list[FileGroup]:
        """All groups of two files or more, which are no longer remembered."""
        groups = [group for group in self._groups.values() if len(group.files) > 1]
        self._groups.clear()
        return groups
