"""The logs of what `up` starts, kept small: a server may run for months, and a full disk ends everything."""

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["MAX_LOG_BYTES", "keep_small"]

MAX_LOG_BYTES: Final = 32 * 2**20
"""Of one file; as much again is kept beside it, in `NAME.log.1`."""


def keep_small(folder: Path, max_bytes: int = MAX_LOG_BYTES) -> list[Path]:
    """Move what is in too long a log to `NAME.log.1` and empty the log itself; returns those.

    Their writers need no signal: they append to the open file, whatever its length. What they write while it is copied
    may be missing.
    """
    moved: list[Path] = []
    for file in folder.glob("*.log"):
        with suppress(FileNotFoundError):  # another process removes it
            if file.stat().st_size > max_bytes:
                shutil.copyfile(file, file.with_suffix(".log.1"))
                with file.open("r+b") as log:
                    log.truncate(0)
                moved.append(file)
    return moved
