"""The raw log: every event of the feed as Parquet, by hour and shard, each file complete blocks of known heights.

A file is named after the heights that it proves, so a listing of a folder says what the log holds. Its content is what
the hub sent, whether or not a later transaction committed: a file whose heights another one holds too is only waste.
"""

import re
from bisect import insort
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fc_pipeline.errors import LakeError
from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import EventBatch, Undecodable, batch_from_raws
from fc_pipeline.hub.wire import BLOCK_SEQUENCE_BITS
from fc_pipeline.lake.storage import LakeStorage

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
_NAME = re.compile(r"(\d+)-(\d+)\.parquet")
_UNSENDABLE = "the hub could not send this event"
_COMPRESSION_LEVEL = 1  # enough for a factor of 2-3 at a small part of the cost of a batch


@dataclass(frozen=True, slots=True, order=True)
class LogFile:
    """One file of the raw log: complete blocks `from_height`…`to_height` of a shard, in one hour."""

    shard: int
    from_height: int
    to_height: int
    hour: Hour
    path: str
    size_bytes: int


class EventLog:
    """The raw log in a lake."""

    def __init__(self, storage: LakeStorage) -> None:
        self._storage = storage

    @classmethod
    def open(cls, uri: str) -> "EventLog":
        """The raw log of the lake at a path or URI."""
        return cls(LakeStorage.open(uri))

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
            LogFile(number, int(match[1]), int(match[2]), hour, f"{self._folder(hour, number)}/{name}", size)
            for number in shards
            for name, size in self._storage.names(self._folder(hour, number))
            if (match := _NAME.fullmatch(name))
        )

    def hours(self) -> list[Hour]:
        """Every hour that the log has files of, ascending."""
        names = self._storage.folders(_FOLDER)
        return [Hour.from_key(f"{n.removeprefix('hour=').replace('T', '-')}:00") for n in names if n[:5] == "hour="]

    def read(self, files: Sequence[LogFile]) -> Iterator[EventBatch]:
        """The blocks of ascending files of one shard, one batch per file; heights in several files are read once.

        Raises LakeError for a file that cannot be read.
        """
        done = -1
        for file in files:
            first = max(file.from_height, done + 1)
            if first > file.to_height:
                continue
            try:
                batch = self._read(file, first)
            except FileNotFoundError as error:
                batch = self._read(self._successor(file, error), first)
            yield batch
            done = batch.to_height

    def block_times(self, hour: Hour, shard: int, heights: Collection[int]) -> dict[int, int]:
        """Unix seconds of those blocks of an hour that the log has. Raises LakeError for a file that cannot be read."""
        found: dict[int, int] = {}
        wanted = pa.array(sorted(set(heights)), type=pa.int64())
        for file in self.files(hour, shard):
            if not any(file.from_height <= height <= file.to_height for height in heights):
                continue
            table = self._table(file).select(["height", "block_time"])
            table = table.filter(pc.is_in(table["height"], value_set=wanted)).drop_null()
            times = cast(list[int], table["block_time"].cast(pa.int64()).to_pylist())
            found.update(zip(cast(list[int], table["height"].to_pylist()), times, strict=True))
        return found

    def _successor(self, gone: LogFile, error: FileNotFoundError) -> LogFile:
        """The file into which one was joined since it was listed."""
        for file in self.files(gone.hour, gone.shard):
            if file.from_height <= gone.from_height and gone.to_height <= file.to_height:
                return file
        raise LakeError(
            f"{gone.path} of the raw log is gone: {error}",
            hint="restore the lake's files, or point FC_LAKE_URI at where they are",
        ) from error

    def compact(self, hour: Hour, shard: int) -> int:
        """Join files of adjacent heights into one each; gives how many files that saved."""
        saved = 0
        for run in _adjacent(self.files(hour, shard)):
            if len(run) < 2:
                continue
            done = -1
            tables: list[pa.Table] = []
            for file in run:
                table = self._table(file)
                tables.append(table.filter(pc.field("height") > done))
                done = max(done, file.to_height)
            joined = self._write(pa.concat_tables(tables), shard, run[0].from_height, done, hour)
            # Readers prefer the longer file, so until here both are right.
            for file in run:
                if file.path != joined.path:
                    self._storage.delete(file.path)
            saved += len(run) - 1
        return saved

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
        path = f"{self._folder(hour, shard)}/{from_height:012d}-{to_height:012d}.parquet"
        self._storage.write(path, content)
        return LogFile(shard, from_height, to_height, hour, path, content.size)

    def _read(self, file: LogFile, first: int) -> EventBatch:
        table = self._table(file)
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

    def _table(self, file: LogFile) -> pa.Table:
        """The file's rows. Raises FileNotFoundError if it is gone, LakeError if it cannot be read."""
        full = self._storage.full_path(file.path)
        try:
            return pq.read_table(
                full,
                filesystem=self._storage.filesystem,
                schema=EVENT_LOG_SCHEMA,
                partitioning=None,
                page_checksum_verification=True,
            )
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowInvalid) as error:
            raise LakeError(
                f"cannot read {file.path} of the raw log: {error}",
                hint=f"delete the file and materialise hub_events for {file.hour.key} while the hub still has the hour",
            ) from error

    def _shards(self, hour: Hour) -> list[int]:
        names = self._storage.folders(f"{_FOLDER}/hour={hour.folder}")
        return sorted(int(name.removeprefix("shard=")) for name in names if name.startswith("shard="))

    def _folder(self, hour: Hour, shard: int) -> str:
        return f"{_FOLDER}/hour={hour.folder}/shard={shard}"


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
