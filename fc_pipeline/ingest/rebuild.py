"""raw log → fold: makes tables of an hour anew from what the raw log holds, without a hub."""

from collections.abc import Callable, Collection, Sequence

import pyarrow as pa

from fc_pipeline.errors import LakeError
from fc_pipeline.fold import ledger
from fc_pipeline.fold.ledger import HeightRange
from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.hours import Hour
from fc_pipeline.hub.decode import EventBatch
from fc_pipeline.ingest.batches import within
from fc_pipeline.ingest.outputs import RAW_LOG
from fc_pipeline.ingest.replica import Replica
from fc_pipeline.ingest.stopping import Stopped
from fc_pipeline.ingest.writer import BatchWriter
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.tables.fid_activity import FID_ACTIVITY, sum_activity

__all__ = ["rebuild_hour", "replay_hour"]


def rebuild_hour(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    tables: Collection[str],
    *,
    only_missing: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Fold everything that the raw log holds of an hour into `tables`, which must be the writer's own.

    Heights that the ledger lacks become part of it. With `only_missing`, an hour that was written to all the tables
    before is left alone. Whether the log holds anything of the hour at all.
    Raises LakeError if the log lacks heights of the hour that the ledger covers, Stopped if `should_stop` says so
    before all is done: the hour counts as not rebuilt then.
    """

    def go_on() -> None:
        if should_stop():
            raise Stopped

    go_on()
    stored = {file.shard for file in replica.log.files(hour)}
    with replica.engine.connect() as connection:
        shards = sorted(stored | ledger.covered_shards(connection, hour.key))
        known_shards = {*shards, *ledger.origins(connection)}
    pending = [s for s in shards if not (only_missing and _is_complete(replica, s, hour, tables))]
    rebuilt = {shard: _rebuild_shard(replica, writer, hour, shard, tables, go_on) for shard in pending}
    if pending and FID_ACTIVITY.name in tables:
        # Of all shards none may be folded meanwhile, also one that only now comes to its first block of the hour.
        writer.replace_activity(hour, known_shards, lambda: _activity_of_hour(replica, hour, go_on))
    with replica.engine.begin() as connection:
        for shard, up_to_height in rebuilt.items():
            # Every height was read from the raw log, so the ledger may say that it is there.
            ledger.add_tables(connection, shard, hour.key, up_to_height, sorted({*tables, RAW_LOG}))
    return bool(stored)


def replay_hour(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    fids: Collection[int],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Fold what the ledger covers of an hour once more, for the few targets that the writer is for; how many events.

    Of the log only what may name one of `fids` is decoded, or everything, if there are none. Heights that the ledger
    lacks are left to whoever reads them, who knows these targets by now; blocks that only snapshots brought are in no
    file. Raises LakeError if the log lacks heights that the ledger covers, Stopped.
    """

    def go_on() -> None:
        if should_stop():
            raise Stopped

    events = 0
    with replica.engine.connect() as connection:
        shards = sorted(ledger.covered_shards(connection, hour.key))
        known_shards = {*shards, *ledger.origins(connection)}
    for shard in shards:
        covered, files = _ledger_and_log(replica, shard, hour)
        _refuse_missing(hour, shard, covered, files)
        for batch in replica.log.read(files, naming=fids):
            go_on()
            for part in _parts(batch, covered):
                writer.refold(hour, part)
                events += len(part.raws)
    if shards:
        writer.replace_activity(hour, known_shards, lambda: _activity_of_hour(replica, hour, go_on, naming=fids))
    return events


def _covered(replica: Replica, shard: int, hour: Hour, tables: Collection[str] = ()) -> list[HeightRange]:
    with replica.engine.connect() as connection:
        return ledger.covered(connection, shard, partition=hour.key, tables=list(tables))


def _is_complete(replica: Replica, shard: int, hour: Hour, tables: Collection[str]) -> bool:
    covered, files = _ledger_and_log(replica, shard, hour)
    written = _covered(replica, shard, hour, tables)  # read later: it may hold more by now, but not less
    return not any(ledger.holes(written, r.first, r.last) for r in covered) and not _uncovered(covered, files)


def _ledger_and_log(replica: Replica, shard: int, hour: Hour) -> tuple[list[HeightRange], list[LogFile]]:
    """What the ledger covers of a shard's hour and the log's files of it.

    A file is written before its heights are covered: the ledger is read first, so that the files hold all it covers.
    """
    covered = _covered(replica, shard, hour)
    return covered, replica.log.files(hour, shard)


def _rebuild_shard(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    shard: int,
    tables: Collection[str],
    go_on: Callable[[], None],
) -> int:
    """Fold what the log has of a shard's hour; gives the height up to which that is now so."""

    def none_uncovered() -> bool:
        go_on()
        return not _uncovered(*_ledger_and_log(replica, shard, hour))

    # What the ledger lacks may be about to be committed by another run: then it is that run's to fold.
    fill = not none_uncovered() and writer.hold(hour, [shard], unless=none_uncovered)
    covered, files = _ledger_and_log(replica, shard, hour)
    _refuse_missing(hour, shard, covered, files)
    refold = not set(tables) <= {FID_ACTIVITY.name}
    for batch in replica.log.read(files) if fill or refold else ():
        go_on()
        for hole in ledger.holes(covered, batch.from_height, batch.to_height) if fill else ():
            writer.fold_stored(hour, within(batch, hole.first, hole.last))
        for part in _parts(batch, covered) if refold else ():
            writer.refold(hour, part)
    return max(file.to_height for file in files) if fill else covered[-1].last


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


def _activity_of_hour(
    replica: Replica, hour: Hour, go_on: Callable[[], None], *, naming: Collection[int] = ()
) -> pa.Table:
    """Counts of all shards of an hour as far as the ledger covers it, as rows of `fid_activity`.

    With `naming`, FIDs, only their rows are right.
    """
    counts: list[pa.Table] = [FID_ACTIVITY.arrow([])]
    for shard in sorted({file.shard for file in replica.log.files(hour)}):
        covered, files = _ledger_and_log(replica, shard, hour)
        for batch in replica.log.read(files, naming=naming):
            go_on()
            for part in _parts(batch, covered):
                micro = prepare(part, partition=hour.key, hour_unix=hour.start_unix, tables={FID_ACTIVITY.name})
                if micro.activity is not None:
                    counts.append(micro.activity)
    return sum_activity(pa.concat_tables(counts))
