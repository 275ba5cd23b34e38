"""The raw log: every event of the feed as Parquet, by hour and shard, each file complete blocks of known heights.

A file is named after the heights that it proves, its length and the beginning of its SHA-256, so a listing of a folder
says what the log holds and what each file must be: a manifest that no crash can part from the files, in any store. Its
content is what the hub sent, whether or not a later transaction committed: a file whose heights another one holds too
is only waste. Files of lakes before there were checksums are named after their heights alone; they remain readable.
"""

import hashlib
import re
from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fc_pipeline.errors import LakeError, LakeUnreachable
from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import batch_from_raws
from fc_pipeline.hub.event_batch import EventBatch, Undecodable
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS
from fc_pipeline.lake.named_fids import Fids, named_fids, naming_pattern
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.lake.store_errors import refuse_unreachable

__all__ = ["EVENT_LOG_SCHEMA", "EventLog", "LogFile", "events_table"]

_EVENT_DESCRIPTION = "The event's JSON, byte for byte as the hub sent it; empty for one that the hub could not send"

EVENT_LOG_SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.int64(), metadata={"description": "height << 14 | sequence, per shard"}),
        pa.field("height", pa.int64(), metadata={"description": "Block height on this shard"}),
        pa.field("block_time", pa.timestamp("s", tz="UTC"), metadata={"description": "Time of the block"}),
        pa.field("event", pa.binary(), metadata={"description": _EVENT_DESCRIPTION}),
    ]
)

_FOLDER = "hub_events"
_NAME = re.compile(r"(\d+)-(\d+)(?:\.(\d+)-([0-9a-f]{16}))?\.parquet")
_PATH = re.compile(r"hour=(?P<hour>[^/]+)/shard=(?P<shard>\d+)/(?P<name>[^/]+)")
_CHECKSUM_DIGITS = 16
_UNSENDABLE = "the hub could not send this event"
_COMPRESSION_LEVEL = 1  # enough for a factor of 2-3 at a small part of the cost of a batch


@dataclass(frozen=True, slots=True, order=True)
class LogFile:
    """One file of the raw log: complete blocks `from_height`…`to_height` of a shard, in one hour.

    `written_bytes` and `checksum` (the first digits of the SHA-256) are what it was written as; None in old lakes.
    """

    shard: int
    from_height: int
    to_height: int
    hour: Hour
    path: str
    size_bytes: int
    written_bytes: int | None = None
    checksum: str | None = None

    @property
    def wrong_length(self) -> str | None:
        """What is wrong with it by the listing alone, such as a truncated file; None if nothing."""
        if self.written_bytes is None or self.written_bytes == self.size_bytes:
            return None
        return f"it has {self.size_bytes} bytes, and {self.written_bytes} were written"


class EventLog:
    """The raw log in a lake."""

    def __init__(self, storage: LakeStorage) -> None:
        self._storage = storage

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine, where a listing shows at once what was written."""
        return self._storage.is_local

    @classmethod
    def open(cls, uri: str, *, create: bool = True) -> "EventLog":
        """The raw log of the lake at a path or URI; a local folder is made, unless it is not to be created."""
        return cls(LakeStorage.open(uri, create=create))

    def write(self, batch: EventBatch, hour: Hour) -> LogFile:
        """Store a batch of complete blocks of one hour; it is on disk when this returns. Raises LakeError."""
        return self.write_events(events_table(batch), batch.shard, batch.from_height, batch.to_height, hour)

    def write_events(self, events: pa.Table, shard: int, from_height: int, to_height: int, hour: Hour) -> LogFile:
        """The same for the events (EVENT_LOG_SCHEMA) of complete blocks `from_height`…`to_height`."""
        return self._write(events, shard, from_height, to_height, hour)

    def files(self, hour: Hour, shard: int | None = None) -> list[LogFile]:
        """The files of an hour in ascending order of shard and height."""
        shards = [shard] if shard is not None else self._shards(hour)
        return sorted(
            _listed(match, number, hour, f"{self._folder(hour, number)}/{name}", size)
            for number in shards
            for name, size in self._storage.names(self._folder(hour, number))
            if (match := _NAME.fullmatch(name))
        )

    def all_files(self) -> list[LogFile]:
        """The files of all hours, in no order; one listing of the whole log."""
        found: list[LogFile] = []
        for path, size in self._storage.walk(_FOLDER):
            match = _PATH.fullmatch(path)
            if match:
                hour = Hour.from_key(f"{match['hour'].replace('T', '-')}:00")
                name = _NAME.fullmatch(match["name"])
                if name:
                    found.append(_listed(name, int(match["shard"]), hour, f"{_FOLDER}/{path}", size))
        return found

    def highest_shard(self) -> int | None:
        """The highest shard that it has files of; None if it has none. One listing of the whole log."""
        return max((file.shard for file in self.all_files()), default=None)

    def hours(self) -> list[Hour]:
        """Every hour that the log has files of, ascending."""
        names = self._storage.folders(_FOLDER)
        return [Hour.from_key(f"{n.removeprefix('hour=').replace('T', '-')}:00") for n in names if n[:5] == "hour="]

    def read(self, files: Sequence[LogFile], *, naming: Collection[int] = ()) -> Iterator[EventBatch]:
        """The blocks of ascending files of one shard, one batch per file; heights in several files are read once.

        With `naming`, FIDs, a batch has only events that may name one of them: all that do, and few others.
        Raises LakeError for a file that cannot be read and whose heights no other one holds.
        """
        pattern = naming_pattern(naming)
        for file, first, table in self._tables(files):
            yield _batch(file, first, table, pattern)

    def named_fids(self, files: Sequence[LogFile]) -> Fids:
        """The FIDs below NAMED_BELOW that events of ascending files of one shard may name; raises as `read` does."""
        found = [np.empty(0, dtype=np.uint32), *(named_fids(table["event"]) for _, _, table in self._tables(files))]
        return np.unique(np.concatenate(found))

    def _tables(self, files: Sequence[LogFile]) -> Iterator[tuple[LogFile, int, pa.Table]]:
        """Ascending files with their rows, each with the first height that no file before it has."""
        done = -1
        for listed in files:
            file = listed
            first = max(file.from_height, done + 1)
            if first > file.to_height:
                continue
            try:
                try:
                    table = self._table(file)
                except FileNotFoundError as error:
                    file = self._successor(listed, error)
                    table = self._table(file)
            except LakeError:
                if file is not listed or not _hold(files, file, first):
                    raise
                continue
            yield file, first, table
            done = file.to_height

    def block_times(self, hour: Hour, shard: int, heights: Collection[int]) -> dict[int, int]:
        """Unix seconds of those blocks of an hour that the log has. Raises LakeError for a file that cannot be read."""
        found: dict[int, int] = {}
        wanted = pa.array(sorted(set(heights)), type=pa.int64())
        for file in self.files(hour, shard):
            if not any(file.from_height <= height <= file.to_height for height in heights):
                continue
            table = self._table_or_successor(file).select(["height", "block_time"])
            table = table.filter(pc.is_in(table["height"], value_set=wanted)).drop_null()
            times = cast(list[int], table["block_time"].cast(pa.int64()).to_pylist())
            found.update(zip(cast(list[int], table["height"].to_pylist()), times, strict=True))
        return found

    def block(self, hour: Hour, shard: int, height: int) -> list[bytes]:
        """The events of a block of an hour, as the hub sent them; none if the log lacks it. Raises LakeError."""
        for file in self.files(hour, shard):
            if file.from_height <= height <= file.to_height:
                table = self._table_or_successor(file)
                events = table.filter(pc.field("height") == height).sort_by("event_id")["event"]
                return cast(list[bytes], events.cast(pa.binary()).to_pylist())
        return []

    def _table_or_successor(self, file: LogFile) -> pa.Table:
        try:
            return self._table(file)
        except FileNotFoundError as error:
            return self._table(self._successor(file, error))

    def _successor(self, gone: LogFile, error: FileNotFoundError) -> LogFile:
        """The file into which one was joined since it was listed."""
        for file in self.files(gone.hour, gone.shard):
            if file.from_height <= gone.from_height and gone.to_height <= file.to_height:
                return file
        raise LakeError(
            f"{gone.path} of the raw log is gone: {error}",
            hint="restore the lake's files, or point FC_LAKE_URI at where they are",
        ) from error

    def join(self, files: Sequence[LogFile], events: pa.Table) -> LogFile:
        """Replace several files of adjacent heights by one, whose events (EVENT_LOG_SCHEMA) are in memory."""
        first = files[0]
        joined = self._write(events, first.shard, first.from_height, max(f.to_height for f in files), first.hour)
        # Readers prefer the longer file, so until here both are right.
        self._storage.delete([file.path for file in files if file.path != joined.path])
        return joined

    def compact(self, hour: Hour, shard: int) -> int:
        """Join files of adjacent heights into one each; gives how many files that saved. Raises LakeError."""
        self._storage.delete_unfinished(self._folder(hour, shard))
        saved = 0
        for run in _adjacent(self.files(hour, shard)):
            if len(run) < 2:
                continue
            try:
                self.join(run, self._events_of(run))
            except FileNotFoundError:  # another run is compacting them
                continue
            saved += len(run) - 1
        return saved

    def _events_of(self, files: Sequence[LogFile]) -> pa.Table:
        """The events of ascending files, those of heights that several have once."""
        done = -1
        tables: list[pa.Table] = []
        for file in files:
            table = self._table(file)
            tables.append(table.filter(pc.field("height") > done))
            done = max(done, file.to_height)
        return pa.concat_tables(tables)

    def _write(self, table: pa.Table, shard: int, from_height: int, to_height: int, hour: Hour) -> LogFile:
        sink = pa.BufferOutputStream()
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=_COMPRESSION_LEVEL,
            use_dictionary=False,
            write_statistics=["event_id", "height", "block_time"],
            write_page_checksum=True,
        )
        content = sink.getvalue()
        checksum = _checksum(content)
        name = f"{from_height:012d}-{to_height:012d}.{content.size}-{checksum}.parquet"
        path = f"{self._folder(hour, shard)}/{name}"
        self._storage.write(path, content)
        return LogFile(shard, from_height, to_height, hour, path, content.size, content.size, checksum)

    def damage(self, file: LogFile) -> str | None:
        """What is wrong with a file, which is read for that; None if it is whole, or was joined into another one.

        Raises LakeUnreachable if that cannot be checked.
        """
        try:
            self._table(file)
        except FileNotFoundError:
            return None
        except LakeUnreachable:
            raise
        except LakeError as error:
            return error.message
        return None

    def delete(self, file: LogFile) -> None:
        """Delete a file whose heights others hold, or that is of no use."""
        self._storage.delete([file.path])

    def _table(self, file: LogFile) -> pa.Table:
        """The file's rows. Raises FileNotFoundError if it is gone, LakeError if it is not what was written."""
        try:
            content = self._storage.read(file.path)
            if file.written_bytes is not None and content.size != file.written_bytes:
                raise _damaged(file, f"it has {content.size} bytes, and {file.written_bytes} were written")
            if file.checksum is not None and _checksum(content) != file.checksum:
                raise _damaged(file, "its checksum is another one than when it was written")
            return pq.read_table(
                pa.BufferReader(content), schema=EVENT_LOG_SCHEMA, partitioning=None, page_checksum_verification=True
            )
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowInvalid) as error:
            refuse_unreachable(file.path, error)
            raise _damaged(file, str(error)) from error

    def _shards(self, hour: Hour) -> list[int]:
        names = self._storage.folders(f"{_FOLDER}/hour={hour.folder}")
        return sorted(int(name.removeprefix("shard=")) for name in names if name.startswith("shard="))

    def _folder(self, hour: Hour, shard: int) -> str:
        return f"{_FOLDER}/hour={hour.folder}/shard={shard}"


def _listed(match: re.Match[str], shard: int, hour: Hour, path: str, size_bytes: int) -> LogFile:
    written_bytes = int(match[3]) if match[3] is not None else None
    return LogFile(shard, int(match[1]), int(match[2]), hour, path, size_bytes, written_bytes, match[4])


def _checksum(content: pa.Buffer) -> str:
    return hashlib.sha256(memoryview(content)).hexdigest()[:_CHECKSUM_DIGITS]


def _damaged(file: LogFile, problem: str) -> LakeError:
    return LakeError(
        f"cannot read {file.path} of the raw log: {problem}",
        hint=f"materialise hub_events for {file.hour.key} while a hub still has the hour, or put the file back from a "
        "copy of the lake",
    )


def events_table(batch: EventBatch) -> pa.Table:
    """All events of a batch, also those that could not be decoded or sent, as EVENT_LOG_SCHEMA."""
    event_ids, raws = _with_unsendable(batch)
    heights = [event_id >> BLOCK_SEQUENCE_BITS for event_id in event_ids]
    # A block of unsendable events only has no time of its own.
    times = [batch.block_times.get(height) for height in heights]
    columns = (event_ids, heights, times, raws)
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, EVENT_LOG_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=EVENT_LOG_SCHEMA)


def _with_unsendable(batch: EventBatch) -> tuple[list[int], list[bytes]]:
    """Ids and JSON of all events, those that the hub could not send among them at their place, without JSON."""
    unsendable = [bad.near_id for bad in batch.undecodable if not bad.raw]
    if not unsendable:
        return batch.event_ids, batch.raws
    rows = [*zip(batch.event_ids, batch.raws, strict=True), *((event_id, b"") for event_id in unsendable)]
    rows.sort(key=itemgetter(0))
    return [event_id for event_id, _ in rows], [raw for _, raw in rows]


def _batch(file: LogFile, first: int, table: pa.Table, pattern: str | None) -> EventBatch:
    """The events of a file from a height on, if need be those that match a pattern."""
    if pattern is not None:
        table = table.filter(pc.match_substring_regex(table["event"], pattern))
    if first > file.from_height:
        table = table.filter(pc.field("height") >= first)
    unsendable = table.filter(pc.field("event") == b"")["event_id"]
    table = table.filter(pc.field("event") != b"")
    heights = cast(list[int], table["height"].to_pylist())
    times = cast(list[int], table["block_time"].cast(pa.int64()).to_pylist())
    raws = cast(list[bytes], table["event"].to_pylist())
    batch = batch_from_raws(file.shard, first, file.to_height, raws, dict(zip(heights, times, strict=True)))
    for event_id in cast(list[int], unsendable.to_pylist()):
        insort(batch.undecodable, Undecodable(event_id, _UNSENDABLE, b"", event_id), key=attrgetter("near_id"))
    return batch


def _hold(files: Sequence[LogFile], damaged: LogFile, first: int) -> bool:
    """Whether others of ascending files hold the damaged one's heights from `first` on."""
    for file in files:
        if file is not damaged and file.from_height <= first:
            first = max(first, file.to_height + 1)
    return first > damaged.to_height


def _adjacent(files: Sequence[LogFile]) -> list[list[LogFile]]:
    """Group ascending files whose heights touch or overlap."""
    runs: list[list[LogFile]] = []
    end = -2
    for file in files:
        if not runs or file.from_height > end + 1:
            runs.append([])
        runs[-1].append(file)
        end = max(end, file.to_height) if len(runs[-1]) > 1 else file.to_height
    return runs
