"""raw log → fold: rebuilds an hour's tables from what the raw log holds, without a hub."""

from collections.abc import Callable, Collection, Sequence

from fc_pipeline.feed.activity_count import ActivityCount
from fc_pipeline.feed.folded_log import covered_heights, ledger_and_log, refuse_missing
from fc_pipeline.feed.outputs import RAW_LOG, with_leaves
from fc_pipeline.feed.stopping import Stopped
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.heights import HeightRange, holes, without
from fc_pipeline.hours import Hour
from fc_pipeline.lake.event_log import LogFile
from fc_pipeline.reconcile.quarantined import quarantined_of_hour, without_quarantined
from fc_pipeline.replica import Replica
from fc_pipeline.store import coverage, ledger
from fc_pipeline.store.ledger import NewlyWritten
from fc_pipeline.store.query import query_of
from fc_pipeline.tables.fid_activity import FID_ACTIVITY

__all__ = ["rebuild_hour", "replay_hour"]


def rebuild_hour(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    tables: Collection[str],
    *,
    only_missing: bool = False,
    counts_more: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Fold everything that the raw log has of an hour into `tables`, which must be the writer's.

    Heights that the ledger lacks become part of it. With `only_missing`, an hour that was written to all the tables
    before is left alone; with `counts_more`, its counts in `fid_activity` have events that they lacked. What is in
    quarantine stays there. Returns whether the log has anything of the hour. Raises LakeError if the log lacks heights
    of the hour that the ledger covers, Stopped if `should_stop` says so before all is done: the hour counts as not
    rebuilt then.
    """

    def check_stop() -> None:
        if should_stop():
            raise Stopped

    check_stop()
    stored = {file.shard for file in replica.log.files(hour)}
    with replica.engine.connect() as connection:
        shards = sorted(stored | ledger.covered_shards(connection, hour.key))
        known_shards = {*shards, *ledger.origins(connection)}
    tables = with_leaves(tables)
    pending = [s for s in shards if not (only_missing and _is_complete(replica, writer, s, hour, tables))]
    rebuilt = {shard: _rebuild_shard(replica, writer, hour, shard, tables, check_stop) for shard in pending}
    if pending and FID_ACTIVITY.name in tables:
        _replace_activity(writer, hour, known_shards, ActivityCount(replica, hour, check_stop), counts_more=counts_more)
    with replica.engine.begin() as connection:
        for shard, (up_to_height, newly_written) in rebuilt.items():
            # Every height was read from the raw log, so the ledger may say that it is there.
            ledger.add_tables(connection, shard, hour.key, up_to_height, sorted({*tables, RAW_LOG}), newly_written)
    return bool(stored | rebuilt.keys())


def replay_hour(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    fids: Collection[int],
    *,
    should_stop: Callable[[], bool] = lambda: False,
) -> int:
    """Fold what the ledger covers of an hour once more, for the few targets that the writer is for; how many events.

    Only events that may name one of `fids` are decoded, or all, if there are none. Heights that the ledger lacks are
    left to the run that reads them, which knows these targets by now; blocks covered by snapshots only are in no file.
    Raises LakeError if the log lacks heights that the ledger covers, Stopped.
    """

    def check_stop() -> None:
        if should_stop():
            raise Stopped

    events = 0
    with replica.engine.connect() as connection:
        shards = sorted(ledger.covered_shards(connection, hour.key))
        known_shards = {*shards, *ledger.origins(connection)}
    for shard in shards:
        covered, files = ledger_and_log(replica, shard, hour)
        refuse_missing(hour, shard, covered, files)
        aside = quarantined_of_hour(replica, hour, shard)
        for batch in replica.log.read(files, naming=fids):
            check_stop()
            for part in batch.parts_within(covered):
                writer.refold(hour, without_quarantined(part, aside))
                events += len(part.raws)
    if shards:
        _replace_activity(writer, hour, known_shards, ActivityCount(replica, hour, check_stop, naming=fids))
    return events


def _replace_activity(
    writer: BatchWriter, hour: Hour, shards: Collection[int], count: ActivityCount, *, counts_more: bool = False
) -> None:
    """Set the hour's counts again.

    No shard may be folded meanwhile, not even one that is about to fold its first block of the hour. So most is counted
    before the locks are taken, and only what was folded since is counted under them.
    """
    count.catch_up_roughly()
    writer.replace_activity(hour, shards, count.total, counts_more=counts_more)


def _is_complete(replica: Replica, writer: BatchWriter, shard: int, hour: Hour, tables: Collection[str]) -> bool:
    """Whether everything that the ledger covers was written to all the tables, and the log has nothing more.

    A file that another run has just written does not count: that run folds it before it releases its lease. The ledger
    is read after the lease, so either the holder is seen, or everything it has folded.
    """
    covered, files = ledger_and_log(replica, shard, hour)
    written = covered_heights(replica, shard, hour, tables)  # read later: it may hold more by now, but not less
    if any(holes(written, r.first, r.last) for r in covered):
        return False
    left = _outside(covered, files)
    if not left or writer.is_held_by_another(hour, shard):
        return True
    return not without(left, covered_heights(replica, shard, hour))


def _rebuild_shard(
    replica: Replica,
    writer: BatchWriter,
    hour: Hour,
    shard: int,
    tables: Collection[str],
    check_stop: Callable[[], None],
) -> tuple[int, dict[int, NewlyWritten]]:
    """Fold what the log has of a shard's hour.

    Returns the height up to which it is folded, and per line, by its first height, how many events are new.
    """
    check_stop()
    left = _outside(*ledger_and_log(replica, shard, hour))

    def none_left() -> bool:
        check_stop()
        return not without(left, covered_heights(replica, shard, hour))

    # What the ledger lacks may be about to be committed by another run, which then folds it.
    fill = not none_left() and writer.hold(hour, [shard], unless=none_left)
    covered, files = ledger_and_log(replica, shard, hour)
    refuse_missing(hour, shard, covered, files)
    with replica.engine.connect() as connection:  # later: a line may be longer by now, but every range has its own
        lines = coverage.lines_of_shard(query_of(connection), shard, hour)
    aside = quarantined_of_hour(replica, hour, shard)
    refold = not set(tables) <= {FID_ACTIVITY.name}
    newly_written: dict[int, NewlyWritten] = {}
    for batch in replica.log.read(files) if fill or refold else ():
        check_stop()
        for hole in holes(covered, batch.from_height, batch.to_height) if fill else ():
            writer.fold_stored(hour, batch.within(hole.first, hole.last))
        for part in batch.parts_within(covered) if refold else ():
            line = coverage.line_with(lines, part.from_height)
            news = writer.refold(hour, without_quarantined(part, aside), line.tables)
            newly_written[line.heights.first] = newly_written.get(line.heights.first, NewlyWritten()) + news
    return (max(file.to_height for file in files) if fill else covered[-1].last), newly_written


def _outside(covered: Sequence[HeightRange], files: Sequence[LogFile]) -> list[HeightRange]:
    """The heights that the log has and the ledger lacks."""
    return without([HeightRange(file.from_height, file.to_height) for file in files], covered)
