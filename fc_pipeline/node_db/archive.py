"""Unpacks a published archive of a shard's database: chunks of gzip, joined to one tar (node-db 4), file by file.

Neither chunks nor the tar are kept. What was unpacked stays where it is cut short, and is gone on with.
"""

import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj, rmtree
from typing import Any, Final, cast

import msgspec

from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.node_db.archive_source import Archive, ArchiveReplaced, ArchiveSource

__all__ = ["Unpacked", "unpack"]

_STATE: Final = "unpacked.json"
_GZIP: Final = 31
_BLOCK_BYTES: Final = 512
_COPY_BYTES: Final = 1 << 20


class Unpacked(msgspec.Struct):
    """How far an archive is unpacked: the place of the next file's header, as chunk and byte within its content."""

    key_base: str
    chunk: int = 0
    byte: int = 0
    files: int = 0
    is_done: bool = False


def unpack(
    source: ArchiveSource,
    shard: int,
    folder: Path,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    report: Callable[[Archive, Unpacked], None] = lambda archive, done: None,
) -> Unpacked | None:
    """Unpack a shard's newest archive into `folder`/shard-N; None where the source has no such shard.

    One that was unpacked before is left as it is. Where the archive is replaced meanwhile, the new one is taken from
    its beginning. Once `should_stop`, it ends between two files. Raises NodeDatabaseError.
    """
    while True:
        archive = source.newest(shard)
        if archive is None:
            return None
        try:
            return _Unpacking(source, archive, folder / f"shard-{shard}", should_stop, report).execute()
        except ArchiveReplaced:
            continue


@dataclass
class _Unpacking:
    source: ArchiveSource
    archive: Archive
    folder: Path
    should_stop: Callable[[], bool]
    report: Callable[[Archive, Unpacked], None]

    def execute(self) -> Unpacked:
        done = self._begun()
        if done.is_done:
            return done
        stream = _Content(self.source, self.archive, done.chunk, done.byte)
        try:
            with tarfile.open(fileobj=cast("Any", stream), mode="r|", bufsize=_BLOCK_BYTES) as tar:
                for member in tar:
                    self._write(tar, member)
                    done.chunk, done.byte = stream.place_after(member)
                    done.files += 1
                    self._note(done)
                    if self.should_stop():
                        return done
        except tarfile.TarError as error:
            raise self._damaged(str(error)) from error
        stream.require_end()
        done.is_done = True
        self._note(done)
        return done

    def _begun(self) -> Unpacked:
        """What was unpacked of this very archive before."""
        state = self.folder.with_name(f"{self.folder.name}.{_STATE}")
        if state.exists():
            found = msgspec.json.decode(state.read_bytes(), type=Unpacked)
            if found.key_base == self.archive.key_base:
                return found
        rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return Unpacked(self.archive.key_base)

    def _note(self, done: Unpacked) -> None:
        state = self.folder.with_name(f"{self.folder.name}.{_STATE}")
        written = state.with_suffix(".new")
        written.write_bytes(msgspec.json.encode(done))
        written.replace(state)
        self.report(self.archive, done)

    def _write(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """A file goes into the shard's folder, whatever path it stands under."""
        name = Path(member.name).name
        if not member.isfile():
            return
        content = tar.extractfile(member)
        if content is None or name in ("", ".", ".."):
            raise self._damaged(f"{member.name!r} is no file")
        with (self.folder / name).open("wb") as file:
            copyfileobj(content, file, _COPY_BYTES)

    def _damaged(self, what: str) -> NodeDatabaseError:
        return NodeDatabaseError(
            f"the archive {self.archive.key_base} is damaged: {what}",
            hint="delete the folder that it is unpacked into, and try again; or name another source",
        )


class _Content:
    """The joined contents of the chunks, from a place on, as a file that is read once."""

    def __init__(self, source: ArchiveSource, archive: Archive, chunk: int, byte: int) -> None:
        self._source, self._archive = source, archive
        self._held = b""
        self._first = (chunk, byte)
        self._starts: list[tuple[int, int]] = []  # of each chunk that was begun: where its content begins
        self._read = 0
        self._pieces = self._contents()

    def _contents(self) -> Iterator[bytes]:
        first, skipped = self._first
        begun = -skipped
        for place in range(first, len(self._archive.chunks)):
            self._starts.append((place, begun))
            for piece in self._chunk(place):
                begun += len(piece)
                if skipped:
                    kept = piece[skipped:]
                    skipped -= len(piece) - len(kept)
                    if not kept:
                        continue
                    yield kept
                else:
                    yield piece

    def _chunk(self, place: int) -> Iterator[bytes]:
        unzip = zlib.decompressobj(_GZIP)
        name = self._archive.chunks[place]
        try:
            for packed in self._source.chunk(self._archive, place):
                if piece := unzip.decompress(packed):
                    yield piece
            if piece := unzip.flush():
                yield piece
        except zlib.error as error:
            raise self._damaged(name, str(error)) from error
        if not unzip.eof or unzip.unused_data:
            raise self._damaged(name, "it ends too early" if not unzip.eof else "something follows its end")

    def _damaged(self, name: str, what: str) -> NodeDatabaseError:
        return NodeDatabaseError(
            f"the chunk {name} of {self._archive.key_base} is damaged: {what}",
            hint="try again; if it stays so, name another source",
        )

    def read(self, size: int) -> bytes:
        """So many bytes, fewer only at the end."""
        parts: list[bytes] = []
        wanted = size
        while wanted:
            if not self._held:
                self._held = next(self._pieces, b"")
                if not self._held:
                    break
            parts.append(self._held[:wanted])
            self._held = self._held[wanted:]
            wanted -= len(parts[-1])
        found = b"".join(parts)
        self._read += len(found)
        return found

    def place_after(self, member: tarfile.TarInfo) -> tuple[int, int]:
        """Where the header behind a file is: the chunk, and the byte within its content.

        It may lie in a chunk that is not begun yet; then it is told as one beyond the end of the last one begun.
        """
        end = member.offset_data + -(-member.size // _BLOCK_BYTES) * _BLOCK_BYTES
        place, start = next(one for one in reversed(self._starts) if one[1] <= end)
        return place, end - start

    def require_end(self) -> None:
        """Read what is behind the tar's end. Raises NodeDatabaseError for a chunk that is damaged or missing."""
        while self.read(_COPY_BYTES):
            pass
