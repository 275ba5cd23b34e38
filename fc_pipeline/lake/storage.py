"""Where the lake lies: a local folder, or any URI that Arrow or fsspec can open."""

import os
import re
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs

from fc_pipeline.errors import LakeError
from fc_pipeline.lake.s3 import S3Requests
from fc_pipeline.lake.store_errors import remedy_of
from fc_pipeline.plain_text import one_line, shown_url

__all__ = ["LakeStorage"]

UNFINISHED_SECONDS: Final = 86_400
"""An older temporary file was left by a process that died: writing one takes less."""
_UNFINISHED: Final = ".unfinished"
_PATH_CHARACTERS: Final = "/%:@!$&'()*+,;=~"
"""Not escaped in the path of a URI; a percent sign there begins an escape."""


@dataclass(frozen=True)
class LakeStorage:
    """A file system and the folder in it that holds the lake; paths given to it are relative to that folder."""

    filesystem: fs.FileSystem
    root: str
    s3: S3Requests | None = None

    @classmethod
    def open(cls, uri: str, *, create: bool = True) -> "LakeStorage":
        """Open a path or URI, such as `data/lake` or `s3://bucket/lake`. Raises LakeError if nothing can open it.

        A folder of this machine that is not there yet is made, unless it is not to be created: it is empty then.
        """
        if "://" not in uri:
            return cls(fs.LocalFileSystem(), _local_folder(uri) if create else str(Path(uri).absolute()))
        s3 = S3Requests(uri) if uri.startswith("s3://") else None
        try:
            filesystem, root = fs.FileSystem.from_uri(_for_arrow(uri))
        except pa.ArrowInvalid:
            filesystem, root = _open_by_fsspec(uri)
        except OSError as error:
            raise _cannot_open(uri, error) from None
        return cls(filesystem, root.rstrip("/"), s3)

    @property
    def is_local(self) -> bool:
        """Whether the lake is a folder of this machine."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def full_path(self, path: str) -> str:
        """The path within the file system."""
        return f"{self.root}/{path}"

    def write(self, path: str, content: pa.Buffer) -> None:
        """Write a whole file so that a reader sees all of it or nothing, also after a crash or loss of power.

        Raises LakeError if it cannot be written.
        """
        with self.writing(path) as stream:
            stream.write(memoryview(content))

    def write_new(self, path: str, content: pa.Buffer) -> bool:
        """Write a whole file if there is none of this name; whether it was written.

        Of several that do so at once, one writes, in local folders and stores that know conditional writes (S3 does).
        Raises LakeError.
        """
        full = self.full_path(path)
        try:
            if self.s3 is not None:
                return self.s3.write_new(full, content)
            if self.filesystem.get_file_info(full).type != fs.FileType.NotFound:
                return False
            if self.is_local:
                return _write_new_locally(Path(full), content)
        except OSError as error:
            raise _cannot_write(path, error) from error
        self.write(path, content)
        return True

    def read(self, path: str) -> pa.Buffer:
        """A whole file. Raises FileNotFoundError, OSError."""
        if self.s3 is not None:
            return self.s3.read(self.full_path(path))
        with self.filesystem.open_input_file(self.full_path(path)) as stream:
            return stream.read_buffer()

    @contextmanager
    def writing(self, path: str) -> Generator[BinaryIO]:
        """The same for a file that is written bit by bit: it is there when the block ends, and not if it fails.

        Raises LakeError.
        """
        full = self.full_path(path)
        try:
            if self.is_local:
                with _writing_durably(Path(full)) as file:
                    yield file
                return
            with self._writing_object(full) as stream:
                yield stream
        except OSError as error:
            raise _cannot_write(path, error) from error

    @contextmanager
    def _writing_object(self, full: str) -> Generator[BinaryIO]:
        """An object appears in a store when it is closed, which Arrow does, too, where the block has failed."""
        try:
            with self.filesystem.open_output_stream(full) as stream:
                yield cast(BinaryIO, stream)
        except OSError:  # of the store: it is not asked for more
            raise
        except BaseException:
            self.filesystem.delete_file(full)
            raise

    def names(self, folder: str) -> list[tuple[str, int]]:
        """Name and size in bytes of the files in a folder, unfinished ones left out; empty if there is no folder.

        Raises LakeError, as `folders` does.
        """
        found = self._list(folder)
        return sorted((i.base_name, i.size) for i in found if i.type == fs.FileType.File and i.base_name[0] != ".")

    def walk(self, folder: str) -> list[tuple[str, int]]:
        """Path below `folder` and size in bytes of all files in it and in its folders, unfinished ones left out.

        A store answers that in pages of a thousand files, however many folders there are.
        """
        found = self._list(folder, recursive=True)
        start = len(self.full_path(folder).strip("/")) + 1
        return [
            (info.path.strip("/")[start:], info.size)
            for info in found
            if info.type == fs.FileType.File and info.base_name[0] != "."
        ]

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder."""
        return sorted(i.base_name for i in self._list(folder) if i.type == fs.FileType.Directory)

    def _list(self, folder: str, *, recursive: bool = False) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self.full_path(folder), allow_not_found=True, recursive=recursive)
        try:
            with suppress(FileNotFoundError):
                return self.filesystem.get_file_info(selector)
            # Arrow says so of a folder that comes into being just then: by now it is there.
            return self.filesystem.get_file_info(selector)
        except OSError as error:
            raise LakeError(
                f"cannot list {self.full_path(folder)}: {one_line(error)}", hint=remedy_of(error)
            ) from error

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files, in as few requests as the store allows; one that is gone already is none to delete.

        Raises LakeError.
        """
        if not paths:
            return
        full = [self.full_path(path) for path in paths]
        try:
            if self.s3 is not None:
                self.s3.delete(full)
                return
            for path in full:
                with suppress(FileNotFoundError):
                    self.filesystem.delete_file(path)
        except OSError as error:
            raise LakeError(
                f"cannot delete {full[0]} from the lake: {one_line(error)}", hint=remedy_of(error)
            ) from error

    def delete_unfinished(self, folder: str) -> None:
        """Delete what writers that were killed have left half written in a local folder.

        Other stores show no object before it is whole.
        """
        if not self.is_local:
            return
        old_unix = time.time() - UNFINISHED_SECONDS
        for file in Path(self.full_path(folder)).glob(f".*{_UNFINISHED}"):
            with suppress(FileNotFoundError):
                if file.stat().st_mtime < old_unix:
                    file.unlink()


def _for_arrow(uri: str) -> str:
    """The URI as Arrow reads it: what must be escaped is, no folder has an empty name, and S3 takes one request a file.

    Without delayed opening, each file that is written takes three requests.
    """
    scheme, _, rest = uri.partition("://")
    place, separator, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    path = re.sub("/{2,}", "/", path).lstrip("/")
    if scheme == "s3" and "allow_delayed_open=" not in query:
        separator, query = "?", f"{query}&allow_delayed_open=true" if query else "allow_delayed_open=true"
    return f"{scheme}://{authority}{slash}{quote(path, safe=_PATH_CHARACTERS)}{separator}{query}"


def _cannot_write(path: str, error: OSError) -> LakeError:
    return LakeError(f"cannot write {path} to the lake: {one_line(error)}", hint=remedy_of(error))


def _write_new_locally(target: Path, content: pa.Buffer) -> bool:
    """The file gets its name only once it is complete, and replaces no other one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as stream:
            stream.write(memoryview(content))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(unfinished, target)
        except FileExistsError:
            return False
        except OSError:  # a file system without links: there is none of this name yet, as was looked before
            unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_names(target.parent)
    return True


def _cannot_open(uri: str, error: Exception) -> LakeError:
    """Without its cause: what a store says may quote the URI, and the keys in it."""
    reason = next(iter(str(error).splitlines()), "")  # a store may list every library that it missed
    keys = urlsplit(uri).netloc.rpartition("@")[0]
    for whole in (_for_arrow(uri), uri):
        reason = reason.replace(whole, shown_url(uri))
    for secret in filter(None, (keys, *keys.split(":"))):
        reason = reason.replace(secret, "…hidden…")
    return LakeError(f"cannot open the lake at {shown_url(uri)}: {reason}", hint="check FC_LAKE_URI")


def _local_folder(path: str) -> str:
    folder = Path(path).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LakeError(f"cannot open the lake at {path}: {error}", hint="check FC_LAKE_URI") from error
    return str(folder)


@contextmanager
def _writing_durably(target: Path) -> Generator[BinaryIO]:
    """Write a local file under another name, then rename it; on disk are then the file, its name and its folders."""
    new_folders = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        with unfinished.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.rename(target)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    for folder in (target.parent, *(new.parent for new in new_folders)):
        _sync_names(folder)


def _sync_names(folder: Path) -> None:
    """What is named in the folder survives a loss of power from here on."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_by_fsspec(uri: str) -> tuple[fs.FileSystem, str]:
    """Open what Arrow itself does not know, where fsspec is installed and knows it."""
    try:
        import fsspec
    except ImportError as error:
        raise LakeError(
            f"Arrow cannot open the lake at {shown_url(uri)}, and fsspec is not installed",
            hint="install fsspec and the package for this kind of store, or change FC_LAKE_URI",
        ) from error
    try:
        filesystem, root = fsspec.core.url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise _cannot_open(uri, error) from None
    handler = fs.FSSpecHandler(filesystem)  # pyright: ignore[reportAbstractUsage] - the stubs miss its methods
    return fs.PyFileSystem(handler), root
