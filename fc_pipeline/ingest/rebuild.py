"""raw log → fold: makes tables of an hour anew from what the raw log holds, without a hub."""

from collections.abc import Collection, Sequence

import pyarrow as pa

from fc_pipeline.errors import LakeError
from fc_pipeline.fold import ledger
from fc_pipeline.fold.ledger import HeightRange
from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import EventBatch
from fc_pipeline.ingest.batches import within
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.writer import BatchWriter
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.tables.fid_activity import FID_ACTIVITY, sum_activity

__all__ = ["rebuild_hour"]


def rebuild_hour(
    replica: Replica, writer: BatchWriter, hour: Hour, tables: Collection[str], *, only_missing: bool = False
) -> bool:
    """Fold everything that the raw log holds of an hour into `tables`, which must be the writer's own.

    Heights that the ledger lacks become part of it. With `only_missing`, an hour that was written to all the tables
    before is left alone. Whether the log holds anything of the hour at all.
    Raises LakeError if the log lacks heights of the hour that the ledger covers.
    """
    files = _files_by_shard(replica, hour)
    shards = sorted(files.keys() | _ledger_shards(replica, hour))
    pending = [s for s in shards if not (only_missing and _is_complete(replica, s, hour, tables))]
    for shard in pending:
        _rebuild_shard(replica, writer, hour, shard, files.get(shard, []), tables)
    if pending and FID_ACTIVITY.name in tables:
        writer.replace_activity(hour, shards, lambda: _activity_of_hour(replica, hour))
    for shard in pending:
        _note_tables(replica, shard, hour, tables)
    return bool(files)


def _files_by_shard(replica: Replica, hour: Hour) -> dict[int, list[LogFile]]:
    by_shard: dict[int, list[LogFile]] = {}
    for file in replica.log.files(hour):
        by_shard.setdefault(file.shard, []).append(file)
    return by_shard


def _ledger_shards(replica: Replica, hour: Hour) -> set[int]:
    with replica.engine.connect() as connection:
        return {s for s in ledger.origins(connection) if ledger.covered(connection, s, partition=hour.key)}


def _covered(replica: Replica, shard: int, hour: Hour, tables: Collection[str] = ()) -> list[HeightRange]:
    with replica.engine.connect() as connection:
        return ledger.covered(connection, shard, partition=hour.key, tables=list(tables))


def _is_complete(replica: Replica, shard: int, hour: Hour, tables: Collection[str]) -> bool:
    return _covered(replica, shard, hour, tables) == _covered(replica, shard, hour)


def _rebuild_shard(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    shard: int,
    files: Sequence[LogFile],
    tables: Collection[str],
) -> None:
    covered = _covered(replica, shard, hour)
    _refuse_missing(hour, shard, covered, files)
    if set(tables) <= {FID_ACTIVITY.name} and not _uncovered(covered, files):
        return
    for batch in replica.log.read(files):
        for hole in ledger.holes(covered, batch.from_height, batch.to_height):
            writer.hold(shard, hour)
            writer.fold_stored(hour, within(batch, hole.first, hole.last))
        for part in _parts(batch, covered):
            writer.refold(hour, part)


def _uncovered(covered: Sequence[HeightRange], files: Sequence[LogFile]) -> bool:
    return any(ledger.holes(covered, file.from_height, file.to_height) for file in files)


def _parts(batch: EventBatch, covered: Sequence[HeightRange]) -> list[EventBatch]:
    """The parts of a batch that the ledger covers."""
    overlaps = [(max(r.first, batch.from_height), min(r.last, batch.to_height)) for r in covered]
    return [within(batch, first, last) for first, last in overlaps if first <= last]


def _refuse_missing(hour: Hour, shard: int, covered: Sequence[HeightRange], files: Sequence[LogFile]) -> None:
    stored = [HeightRange(file.from_height, file.to_height) for file in files]
    for folded in covered:
        missing = ledger.holes(stored, folded.first, folded.last)
        if missing:
            gap = missing[0]
            raise LakeError(
                f"the raw log lacks heights {gap.first}-{gap.last} of shard {shard} in hour {hour.key}, "
                "though they were folded once",
                hint="restore the lake's files, or point FC_LAKE_URI at where they are",
            )


def _activity_of_hour(replica: Replica, hour: Hour) -> pa.Table:
    """Counts of all shards of an hour as far as the ledger covers it, as rows of `fid_activity`."""
    counts: list[pa.Table] = [FID_ACTIVITY.arrow([])]
    for shard, files in _files_by_shard(replica, hour).items():
        covered = _covered(replica, shard, hour)
        for batch in replica.log.read(files):
            for part in _parts(batch, covered):
                micro = prepare(part, partition=hour.key, hour_unix=hour.start_unix, tables={FID_ACTIVITY.name})
                if micro.activity is not None:
                    counts.append(micro.activity)
    return sum_activity(pa.concat_tables(counts))


def _note_tables(replica: Replica, shard: int, hour: Hour, tables: Collection[str]) -> None:
    covered = _covered(replica, shard, hour)
    if covered:
        with replica.engine.begin() as connection:
            ledger.add_tables(connection, shard, hour.key, covered[-1].last, sorted(tables))
