"""Folders for sockets that only one user enters: in the data folder where they can be, else below /tmp.

Those below /tmp are removed at the end of who made them, and at the next start where it was killed.
"""

import os
import re
import socket
import stat
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from fc_pipeline.errors import ServiceError

__all__ = ["private_dir", "remove_private_dir", "remove_stale_private_dirs"]

ELSEWHERE: Final = Path("/tmp")  # noqa: S108 - whose a folder is, is checked
STALE_SECONDS: Final = 3600.0
"""A folder of this age without a listener is stale: a server listens within minutes."""

_MAX_SOCKET_PATH_BYTES: Final = 107
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9/._-]+")
"""Paths that all programs parse alike: Postgres splits at commas, gRPC parses a socket's path as part of a URI."""
_SOCKETS: Final = (".s.PGSQL.5432", "redis.sock", "code_server.sock")
_FILES: Final = (*_SOCKETS, ".s.PGSQL.5432.lock")
_NAME: Final = re.compile(r"fc_pipeline-[a-z]+-(?P<uid>\d+)-[0-9a-f]{12}")


def private_dir(data_dir: Path, name: str, socket_name: str, uid: int) -> Path:
    """A folder for a server's socket that only the user `uid` (and root) enters, made if need be.

    It is in the data folder where the socket's path is plain and fits the kernel's limit there, else below /tmp.
    """
    folder = data_dir / "run" / name
    fits = len(os.fsencode(folder / socket_name)) <= _MAX_SOCKET_PATH_BYTES
    if not (fits and _PLAIN_PATH.fullmatch(str(folder))):
        folder = _elsewhere(data_dir, name, uid)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {uid, os.geteuid()}:
        raise ServiceError(f"{folder} is not a folder of this user", hint="remove it")
    if found.st_uid != uid:
        os.chown(folder, uid, -1)
    folder.chmod(0o700)
    return folder


def remove_private_dir(data_dir: Path, name: str) -> None:
    """Remove the folder of a server that has ended, if it is below /tmp, where nothing else removes it."""
    digest = _digest(data_dir)
    for folder in ELSEWHERE.glob(f"fc_pipeline-{name}-*-{digest}"):
        _remove(folder)


def remove_stale_private_dirs() -> None:
    """Remove those of this user (of any, for root) below /tmp that have no listener any more."""
    for folder in ELSEWHERE.glob("fc_pipeline-*"):
        with suppress(OSError):  # another process is quicker, or it is another user's
            if time.time() - folder.lstat().st_mtime > STALE_SECONDS and not _is_in_use(folder):
                _remove(folder)


def _elsewhere(data_dir: Path, name: str, uid: int) -> Path:
    return ELSEWHERE / f"fc_pipeline-{name}-{uid}-{_digest(data_dir)}"


def _digest(data_dir: Path) -> str:
    return sha256(os.fsencode(data_dir)).hexdigest()[:12]


def _is_in_use(folder: Path) -> bool:
    """Whether a process listens on a socket in it, even if too busy to answer."""
    for name in _SOCKETS:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(folder / name))
            except (FileNotFoundError, ConnectionRefusedError):
                continue
            except OSError:
                return True
            return True
    return False


def _remove(folder: Path) -> None:
    """Remove a folder with a name of ours, of the user whose it says it is, and the files of ours in it, no others."""
    named = _NAME.fullmatch(folder.name)
    if named is None:
        return
    with suppress(OSError):  # not empty, not ours, or gone
        # By descriptor: below /tmp, another user could replace it by a link.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(descriptor).st_uid != int(named["uid"]):
                return
            for name in _FILES:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        folder.rmdir()
