"""One shard's database as a stopped node, a copy, a published archive or a running node has it: opened to read.

Never written to: rocksdict puts a file of its own into the folder that it opens, so it gets one of links to the
database's files (node-db 1.4).
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, cast

from fc_pipeline.errors import ConfigError, NodeDatabaseError
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX, height_of
from fc_pipeline.node_db import keys
from fc_pipeline.node_db.keys import Bounds
from fc_pipeline.proof.headers import SignedHeader, read_shard_chunk
from fc_pipeline.proof.protobuf import Malformed

if TYPE_CHECKING:
    from rocksdict import Rdict

__all__ = ["NodeShard", "ShardFolder", "shard_folders"]

KNOWN_SCHEMA: Final = 2
_NOT_LINKED: Final = frozenset({"LOCK", "rocksdict-config.json"})
_READ_AHEAD_BYTES: Final = 2 << 20
_DATA_SHARD: Final = "shard-"


@dataclass(frozen=True, slots=True)
class ShardFolder:
    """Where a data shard's database lies."""

    shard: int
    path: Path

    @property
    def is_in_use(self) -> bool:
        """Whether a process has the database open to write: each time it is opened to read it stands elsewhere."""
        try:
            lock = os.open(self.path / "LOCK", os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:  # of another owner, or on a medium that cannot be written: whoever writes there is not seen
            return False
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(lock)
        return False


def shard_folders(path: Path) -> list[ShardFolder]:
    """The data shards' databases in a node's folder (`rocksdb_dir`), by number.

    Raises NodeDatabaseError where there are none, one is missing, or the node is still unpacking them.
    """
    found = [
        ShardFolder(int(folder.name.removeprefix(_DATA_SHARD)), folder)
        for folder in (path.iterdir() if path.is_dir() else ())
        if folder.name.removeprefix(_DATA_SHARD).isdecimal() and (folder / "CURRENT").exists()
    ]
    shards = sorted((one for one in found if one.shard), key=attrgetter("shard"))
    if not shards:
        raise NodeDatabaseError(
            f"{path} has no database of a data shard",
            hint="name the folder that has shard-1, shard-2, … in it: a node's rocksdb_dir (.rocks)",
        )
    numbers = [one.shard for one in shards]
    if numbers != list(range(1, len(shards) + 1)):
        raise NodeDatabaseError(
            f"{path} has the shards {', '.join(map(str, numbers))}, and not all up to {numbers[-1]}",
            hint="a replica needs every data shard: copy the missing folders, too",
        )
    return shards


class NodeShard:
    """A shard's database, open to read; not for several threads at once.

    `height` is the block whose outcome the rows are, `block_unix` its time in unix seconds, `header` its header, which
    is missing where a node was caught between its two writes of a block (node-db 2.5).
    """

    def __init__(self, folder: ShardFolder) -> None:
        self.folder = folder
        self.shard = folder.shard
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        """Open it. Raises NodeDatabaseError, ConfigError where rocksdict is not installed."""
        try:
            self._database = self._open()
            self._read_state()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self._opened.close()

    def _open(self) -> "Rdict":
        try:
            from rocksdict import AccessType, Options, Rdict
        except ImportError as error:
            raise ConfigError(
                "a node's database is read by rocksdict, which is not installed",
                hint="install the extra: pip install 'fc-pipeline[node]'",
            ) from error
        view = self._opened.enter_context(tempfile.TemporaryDirectory(prefix="fc-pipeline-node-"))
        for entry in self.folder.path.iterdir():
            if entry.name not in _NOT_LINKED:
                (Path(view) / entry.name).symlink_to(entry.resolve())
        try:
            database = Rdict(view, Options(raw_mode=True), access_type=AccessType.read_only(False))
        except Exception as error:  # rocksdict raises plain Exception, with RocksDB's words
            raise NodeDatabaseError(
                f"{self.folder.path} cannot be opened: {str(error).replace(view, '')}",
                hint="it is no RocksDB, is still being copied, or a running node has just replaced a file: try again; "
                "`ulimit -n` must be above its number of files",
            ) from error
        self._opened.callback(database.close)
        return database

    def _read_state(self) -> None:
        found = self._database.get(keys.SCHEMA_VERSION)
        schema = int.from_bytes(found, "big") if found else 0
        if schema > KNOWN_SCHEMA:
            raise NodeDatabaseError(
                f"{self.folder.path} has schema {schema}; up to {KNOWN_SCHEMA} are known",
                hint="a newer node wrote it: use a newer release of fc_pipeline",
            )
        if self._last(keys.REPLICATION) is not None:
            raise NodeDatabaseError(
                f"{self.folder.path} is not whole: the node is still being bootstrapped by replication",
                hint="wait until it follows the network",
            )
        event = self._last(keys.EVENTS)
        block = self._last(keys.BLOCKS)
        block_height = int.from_bytes(block[0][1:9], "big") if block else 0
        self.height = height_of(int.from_bytes(event[0][1:9], "big")) if event else 0
        if block and not self.height:  # of a node that was bootstrapped and has not seen a block since
            self.height = block_height
        if not self.height:
            raise NodeDatabaseError(f"{self.folder.path} has no block yet", hint="wait until the node has synced")
        self.header = self._header(block[1]) if block and block_height == self.height else None
        self.block_unix = FARCASTER_EPOCH_UNIX + self._header(block[1]).header.timestamp if block else 0

    def _header(self, chunk: bytes) -> SignedHeader:
        try:
            return read_shard_chunk(chunk)
        except Malformed as error:
            raise NodeDatabaseError(f"{self.folder.path}: the newest block is damaged: {error}") from error

    def _last(self, prefix: bytes) -> tuple[bytes, bytes] | None:
        """The last row below a prefix."""
        rows = self._database.iter()
        rows.seek_for_prev(keys.below(prefix).high)
        if not rows.valid() or not rows.key().startswith(prefix):
            return None
        return rows.key(), rows.value()

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None where there is none."""
        return self._database.get(key)

    def rows(self, bounds: Bounds) -> Iterator[tuple[bytes, bytes]]:
        """Keys with their values, ascending."""
        options = _until(bounds.high)  # RocksDB reads the bound where these have it: they must live as long
        rows = self._database.items(from_key=bounds.low, read_opt=options)
        yield from cast("Iterator[tuple[bytes, bytes]]", rows)

    def keys(self, bounds: Bounds) -> Iterator[bytes]:
        """Keys alone, ascending."""
        options = _until(bounds.high)  # as above
        yield from cast("Iterator[bytes]", self._database.keys(from_key=bounds.low, read_opt=options))

    def seeking(self, bounds: Bounds) -> "SeekingRows":
        """The same, with leaps ahead."""
        return SeekingRows(self._database, bounds)


def _until(high: bytes) -> Any:
    from rocksdict import ReadOptions

    options = ReadOptions()
    options.set_iterate_upper_bound(high)
    options.set_readahead_size(_READ_AHEAD_BYTES)
    return options


class SeekingRows:
    """Goes over rows in ascending order of keys, and leaps over those that nobody needs."""

    def __init__(self, database: "Rdict", bounds: Bounds) -> None:
        self._options = _until(bounds.high)  # as above
        self._rows = database.iter(self._options)
        self._rows.seek(bounds.low)

    def is_at_row(self) -> bool:
        """Whether there is a row."""
        return self._rows.valid()

    def key(self) -> bytes:
        """The row's key."""
        return self._rows.key()

    def value(self) -> bytes:
        """The row's value."""
        return self._rows.value()

    def step(self) -> None:
        """Go to the next row."""
        self._rows.next()

    def leap(self, key: bytes) -> None:
        """Go to the first row that is not below a key."""
        self._rows.seek(key)
