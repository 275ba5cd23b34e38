"""Unpacks the published archives of all data shards into the data folder, from where they are loaded."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fc_pipeline.bulk_load.progress import LoadStep, Stopped
from fc_pipeline.errors import NodeDatabaseError
from fc_pipeline.hub.wire import FIRST_SHARD
from fc_pipeline.node_db.archive import Unpacked, unpack
from fc_pipeline.node_db.archive_source import Archive, ArchiveSource
from fc_pipeline.store.bulk_load import LoadProgress

__all__ = ["unpack_all"]

log = logging.getLogger(__name__)
_FOLDER: Final = "node-archive"


def unpack_all(source: ArchiveSource, data_dir: Path, should_stop: Callable[[], bool]) -> Path:
    """The folder with a database per data shard; what was unpacked before is not fetched again.

    Raises NodeDatabaseError, Stopped.
    """
    folder = data_dir / _FOLDER
    shard = FIRST_SHARD
    while (done := unpack(source, shard, folder, should_stop=should_stop, report=_report)) is not None:
        if not done.is_done:
            raise Stopped
        shard += 1
    if shard == FIRST_SHARD:
        raise NodeDatabaseError(
            f"{source.base} has no archive of shard {FIRST_SHARD} of {source.network}",
            hint="expected: what a node's configuration calls snapshot_download_url, or a folder with the same names",
        )
    return folder


def _report(archive: Archive, done: Unpacked) -> None:
    chunks = len(archive.chunks)
    progress = LoadProgress(chunks, done.chunk, chunks, chunks if done.is_done else done.chunk, done.files, 0.0)
    log.debug(
        "archive_unpacked shard=%d files=%d",
        archive.shard,
        done.files,
        extra={"load_progress": LoadStep(f"unpacking shard {archive.shard}", progress)},
    )
