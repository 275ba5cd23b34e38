"""Which hours of the raw log have to be read for new targets: those that name one of them."""

import logging
import time
from collections.abc import Callable, Collection

from fc_pipeline.errors import LakeError
from fc_pipeline.feed.folded_log import ledger_and_log, refuse_missing
from fc_pipeline.feed.stopping import Stopped
from fc_pipeline.hours import Hour
from fc_pipeline.lake.named_fids import MAX_NAMED_FIDS, NAMED_BELOW
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger, named_fids
from fc_pipeline.store.schema import hold_schema

__all__ = ["hours_to_read", "look_through", "look_through_recent"]

log = logging.getLogger(__name__)

RECENT_DAYS = 3.0
"""The daily maintenance looks through the hours that were written to in so many days, older ones who asks first."""


def hours_to_read(
    replica: Replica, fids: Collection[int], *, should_stop: Callable[[], bool] = lambda: False
) -> list[Hour]:
    """The hours that the ledger covers and whose log may name one of these FIDs, ascending; all, if there are none.

    Hours that nobody has looked through yet are read for it, once. Of very many FIDs, or of larger ones than are looked
    for, all hours count. Raises LakeError if the log lacks heights that the ledger covers, Stopped.
    """
    with replica.engine.connect() as connection:
        covered = sorted(map(Hour.from_key, ledger.covered_partitions(connection)))
    if not 0 < len(fids) <= MAX_NAMED_FIDS or max(fids) >= NAMED_BELOW:
        return covered
    unknown = look_through(replica, should_stop=should_stop)
    with replica.engine.connect() as connection:
        naming = named_fids.hours_naming(connection, fids)
    # What is folded from here on is folded by runs that know these targets.
    return [hour for hour in covered if hour in naming or hour in unknown]


def look_through_recent(replica: Replica, *, should_stop: Callable[[], bool]) -> None:
    """The same in advance for the hours that are over and were written to lately. Raises LakeError, Stopped."""
    with replica.engine.connect() as connection:
        recent = ledger.partitions_written_since(connection, RECENT_DAYS * 86_400)
    look_through(replica, set(map(Hour.from_key, recent)), should_stop=should_stop)


def look_through(
    replica: Replica, hours: Collection[Hour] | None = None, *, should_stop: Callable[[], bool]
) -> set[Hour]:
    """Find and note whom these hours name, or all, as far as that is unknown and they are over; gives what is left.

    Raises LakeError for the first one that cannot be read, when all others are noted, and Stopped.
    """
    with replica.engine.connect() as connection:
        unknown = named_fids.unknown_hours(connection)
    present, left, failures = Hour.of(time.time()), set[Hour](), list[LakeError]()
    for hour, shard in unknown:
        if should_stop():
            raise Stopped
        if hour >= present or (hours is not None and hour not in hours):
            left.add(hour)
            continue
        try:
            _look_through(replica, hour, shard)
        except LakeError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return left


def _look_through(replica: Replica, hour: Hour, shard: int) -> None:
    covered, files = ledger_and_log(replica, shard, hour)
    refuse_missing(hour, shard, covered, files)
    fids = replica.log.named_fids(files)
    with replica.engine.begin() as connection:
        hold_schema(lambda statement: connection.exec_driver_sql(statement).all())
        named_fids.note(connection, hour, shard, [(one.first, one.last) for one in covered], fids)
    # A file that was written meanwhile may have what the hub could not send at first; one written later makes the
    # hour unknown by itself (BatchWriter.store).
    if not {file.path for file in replica.log.files(hour, shard)} <= {file.path for file in files}:
        with replica.engine.begin() as connection:
            named_fids.forget(connection, hour, shard)
    log.info("log_looked_through hour=%s shard=%d fids=%d", hour.key, shard, len(fids))
