"""By-FID snapshots as Parquet: what hubs said of FIDs, byte for byte, by bucket, before anything is made of it.

A file holds whole FIDs, the records of one after those of another, in row groups of a few megabytes, so that an FID
with very many is neither written nor read at once. `pipeline.snapshots` names the file of each FID's newest snapshot;
the file's own metadata says between which event ids of each shard its FIDs were asked.
"""

import json
import re
import uuid
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fc_pipeline.errors import LakeError
from fc_pipeline.hub.snapshot import NO_RECORDS, SnapshotPage
from fc_pipeline.lake.storage import LakeStorage
from fc_pipeline.lake.store_errors import refuse_unreachable

__all__ = ["BUCKETS", "SNAPSHOT_SCHEMA", "Heads", "SnapshotFile", "SnapshotLog", "bucket_key", "bucket_of"]

BUCKETS: Final = 256
"""FIDs are spread over so many buckets by their remainder."""

_DESCRIBED: Final[tuple[tuple[str, pa.DataType, str], ...]] = (
    ("fid", pa.int64(), "The user; 0 for contract events of no user"),
    ("shard", pa.int32(), "The FID's shard"),
    ("version", pa.int64(), "Every event up to this id is in the answers"),
    (
        "kind",
        pa.string(),
        "Which table the record belongs to; none: the hub has nothing of this FID; names_asked: a name asked for; "
        "keys_read: all gasless keys are among the records; leaves: a message that no table of rows has; leaves_told, "
        "leaves_read: of what all leaves are among the records",
    ),
    ("record", pa.binary(), "Message, proof or contract event: its JSON, byte for byte as the hub sent it"),
    ("fetched_at", pa.timestamp("us", tz="UTC"), "When the FID's first request was sent"),
)
SNAPSHOT_SCHEMA: Final = pa.schema(
    [pa.field(name, kind, metadata={"description": description}) for name, kind, description in _DESCRIBED]
)

_FOLDER: Final = "fid_snapshots"
_NAME: Final = re.compile(r"(\d{8}T\d{6})\.\d{6}-[0-9a-f]{8}\.parquet")
_TIME_FORMAT: Final = "%Y%m%dT%H%M%S"
_ROW_GROUP_BYTES: Final = 4 * 1024 * 1024
_COMPRESSION_LEVEL: Final = 1
_HEADS_KEY: Final = "fc_pipeline.heads"


def bucket_of(fid: int) -> int:
    """The bucket of an FID."""
    return fid % BUCKETS


def bucket_key(bucket: int) -> str:
    """The bucket as Dagster's partition key, and in the lake's folders."""
    return f"{bucket:03d}"


@dataclass
class SnapshotFile:
    """A file that is being written; `path` is its place below the folder of snapshots."""

    path: str
    fetched_at: datetime
    _writer: pq.ParquetWriter = field(repr=False)
    _columns: tuple[list[int], list[int], list[int], list[str], list[bytes]] = field(
        default_factory=lambda: ([], [], [], [], []), init=False, repr=False
    )
    _bytes: int = field(default=0, init=False)

    def add(self, fid: int, shard: int, version: int, pages: Collection[SnapshotPage]) -> bool:
        """Hold records of an FID; one that has none at all is added with no pages, once. Whether to `flush` now."""
        rows = [(page.kind, record) for page in pages for record in page.records] or [(NO_RECORDS, b"")]
        for values, value in zip(self._columns[:3], (fid, shard, version), strict=True):
            values.extend([value] * len(rows))
        self._columns[3].extend(kind for kind, _ in rows)
        self._columns[4].extend(record for _, record in rows)
        self._bytes += sum(len(record) for _, record in rows)
        return self._bytes >= _ROW_GROUP_BYTES

    def flush(self) -> None:
        """Write what was added as a row group."""
        count = len(self._columns[0])
        if not count:
            return
        columns = (*self._columns, [self.fetched_at] * count)
        arrays = [pa.array(values, type=one.type) for values, one in zip(columns, SNAPSHOT_SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=SNAPSHOT_SCHEMA), row_group_size=count)
        for values in self._columns:
            values.clear()
        self._bytes = 0

    def note_heads(self, heads: "Heads") -> None:
        """Write down between which events the file's FIDs were asked."""
        ids = {"before": dict(heads.before), "after": dict(heads.after)}
        self._writer.add_key_value_metadata({_HEADS_KEY: json.dumps(ids)})


@dataclass(frozen=True, slots=True)
class Heads:
    """Per shard an event id up to which every event is in the answers, and one beyond which none is."""

    before: Mapping[int, int]
    after: Mapping[int, int]

    def __or__(self, other: "Heads") -> "Heads":
        """What holds of both answers together."""
        before = {shard: min(self.before[shard], other.before[shard]) for shard in self.before}
        after = {shard: max(self.after[shard], other.after[shard]) for shard in self.after}
        return Heads(before, after)


class SnapshotLog:
    """The snapshots in a lake. Paths are relative to their folder, as `pipeline.snapshots` names them."""

    def __init__(self, storage: LakeStorage) -> None:
        self._storage = storage

    @classmethod
    def open(cls, uri: str) -> "SnapshotLog":
        """The snapshots of the lake at a path or URI."""
        return cls(LakeStorage.open(uri))

    @contextmanager
    def writing(self, bucket: int, fetched_at: datetime) -> Generator[SnapshotFile]:
        """A new file of a bucket; on disk, whole, when the block ends. Raises LakeError."""
        moment = fetched_at.astimezone(UTC)
        name = f"{moment.strftime(_TIME_FORMAT)}.{moment.microsecond:06d}-{uuid.uuid4().hex[:8]}.parquet"
        path = f"bucket={bucket_key(bucket)}/{name}"
        with (
            self._storage.writing(f"{_FOLDER}/{path}") as stream,
            pq.ParquetWriter(
                stream,
                SNAPSHOT_SCHEMA,
                compression="zstd",
                compression_level=_COMPRESSION_LEVEL,
                use_dictionary=["kind"],  # pyright: ignore[reportArgumentType] - the stubs miss the list
                write_statistics=["fid", "version"],
                write_page_checksum=True,
            ) as writer,
        ):
            file = SnapshotFile(path, moment, writer)
            yield file
            file.flush()

    def read(self, path: str, fids: Collection[int]) -> Iterator[pa.RecordBatch]:
        """The rows of these FIDs in a file, one batch per row group. Raises LakeError."""
        wanted = pa.array(fids, type=pa.int64())
        try:
            with pq.ParquetFile(
                self._storage.full_path(f"{_FOLDER}/{path}"),
                filesystem=self._storage.filesystem,
                page_checksum_verification=True,
            ) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, use_threads=False)
                    rows = table.filter(pc.is_in(table["fid"], value_set=wanted))
                    if len(rows):
                        yield from rows.combine_chunks().to_batches()
        except (OSError, pa.ArrowInvalid) as error:
            refuse_unreachable(path, error)
            raise _unreadable(path, error) from error

    def heads(self, path: str) -> Heads:
        """Between which events a file's FIDs were asked. Raises LakeError."""
        try:
            metadata = pq.read_metadata(
                self._storage.full_path(f"{_FOLDER}/{path}"), filesystem=self._storage.filesystem
            ).metadata
        except (OSError, pa.ArrowInvalid) as error:
            refuse_unreachable(path, error)
            raise _unreadable(path, error) from error
        ids = json.loads((metadata or {})[_HEADS_KEY.encode()])
        return Heads(
            {int(shard): event_id for shard, event_id in ids["before"].items()},
            {int(shard): event_id for shard, event_id in ids["after"].items()},
        )

    def files(self, bucket: int) -> dict[str, datetime]:
        """The files of a bucket, and when each was begun."""
        folder = f"bucket={bucket_key(bucket)}"
        return {
            f"{folder}/{name}": datetime.strptime(match[1], _TIME_FORMAT).replace(tzinfo=UTC)
            for name, _ in self._storage.names(f"{_FOLDER}/{folder}")
            if (match := _NAME.fullmatch(name))
        }

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files."""
        self._storage.delete([f"{_FOLDER}/{path}" for path in paths])

    def delete_unfinished(self, bucket: int) -> None:
        """Delete what writers that were killed have left half written of a bucket."""
        self._storage.delete_unfinished(f"{_FOLDER}/bucket={bucket_key(bucket)}")


def _unreadable(path: str, error: Exception) -> LakeError:
    bucket = path.partition("/")[0].removeprefix("bucket=")
    return LakeError(
        f"cannot read the snapshots {path}: {error}",
        hint=f"materialise fid_snapshots for bucket {bucket} again, alone: it takes the place of what is lost",
    )
