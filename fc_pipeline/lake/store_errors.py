"""What a disk or an object store means by an error: what to do, and whether the lake is at fault at all."""

import errno
import re
from typing import Final

from fc_pipeline.errors import LakeUnreachable
from fc_pipeline.plain_text import one_line

__all__ = ["NO_SYSTEM_HINT", "SYSTEM_HINTS", "refuse_unreachable", "remedy_of", "store_hint"]


def remedy_of(error: OSError) -> str:
    """What to do where a file or an object of the lake cannot be written."""
    return store_hint(str(error)) if error.errno is None else SYSTEM_HINTS.get(error.errno, NO_SYSTEM_HINT)


def refuse_unreachable(path: str, error: Exception) -> None:
    """Raise LakeUnreachable if a file of the lake could not be read for a reason that lies outside of it."""
    if isinstance(error, OSError) and (error.errno in SYSTEM_HINTS or _known_hint(str(error)) is not None):
        raise LakeUnreachable(f"cannot read {path} of the lake: {one_line(error)}", hint=remedy_of(error)) from error


def store_hint(message: str) -> str:
    """What to do about an object store's own words."""
    return _known_hint(message) or "check FC_LAKE_URI, and what the store's provider says of its state"


def _known_hint(message: str) -> str | None:
    """What to do about an object store's own words; None where they are of something else."""
    return next((hint for words, hint in _STORE_HINTS.items() if re.search(words, message, re.IGNORECASE)), None)


NO_SYSTEM_HINT: Final = "see what it names, and its disk, or name another place (FC_DATA_DIR, FC_LAKE_URI)"
SYSTEM_HINTS: Final = {
    errno.ENOSPC: "the disk is full: make room there",
    errno.EDQUOT: "the quota is used up: make room there",
    errno.EROFS: "the disk is mounted read-only: name another folder (FC_DATA_DIR, FC_LAKE_URI)",
    errno.EACCES: "give the user who runs fc_pipeline rights there, or name another folder (FC_DATA_DIR, FC_LAKE_URI)",
    errno.EPERM: "give the user who runs fc_pipeline rights there, or name another folder (FC_DATA_DIR, FC_LAKE_URI)",
    errno.EMFILE: "too many open files: raise `ulimit -n`",
    errno.ENFILE: "too many open files on this machine",
    errno.EIO: "the disk cannot be read or written: see the system's log",
    errno.ECONNREFUSED: "nothing listens there: is the server up?",
    errno.ETIMEDOUT: "no answer in time: is the server up, and the network?",
    errno.EADDRINUSE: "the port is taken: name another one",
}
_STORE_HINTS: Final = {
    "NoSuchBucket|bucket does not exist|bucket.*not found": "make the bucket, or name another one in FC_LAKE_URI",
    r"ACCESS_DENIED|AccessDenied|\b403\b|Forbidden|SIGNATURE|InvalidAccessKey|credentials": "does the key in "
    "FC_LAKE_URI, or in the environment, give the right to list, read, write and delete there?",
    "NETWORK_CONNECTION|curlCode|Could not connect|connect to|timed? ?out|resolve": "is the store up, and its endpoint "
    "in FC_LAKE_URI right (endpoint_override, region)?",
    r"SLOW_DOWN|SlowDown|\b503\b|throttl": "the store limits requests: try again later",
}
