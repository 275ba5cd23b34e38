"""What the ledger says: cursors, lag, holes, totals, quarantine, drift, leases, sizes, snapshots, targets."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa

from fc_pipeline import heights
from fc_pipeline.config.settings import Settings
from fc_pipeline.feed.outputs import OUTPUTS
from fc_pipeline.hours import HOUR_SECONDS, Hour
from fc_pipeline.metrics import families as f
from fc_pipeline.metrics.families import Family, Sample
from fc_pipeline.store import gaps, ledger
from fc_pipeline.store.session import make_engine
from fc_pipeline.targets import coherence, directory

__all__ = ["LedgerReadings"]

_OF_TABLES: Final = (
    "SELECT coalesce(p.relname, c.relname), sum({}) FROM pg_class AS c "
    "LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND c.relispartition "
    "LEFT JOIN pg_class AS p ON p.oid = i.inhparent "
    "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' GROUP BY 1"
)
"""Of each table, and of a partitioned one the sum over its partitions."""
_QUERIES: Final[tuple[tuple[Family, str], ...]] = (
    (
        f.QUARANTINE,
        "SELECT reason, count(*) FROM pipeline.quarantine WHERE resolved_at IS NULL GROUP BY 1",
    ),
    (
        f.DRIFT,
        "SELECT table_name, kind, count(*) FROM pipeline.drift WHERE found_at > now() - interval '1 day' GROUP BY 1, 2",
    ),
    (
        f.LEASE_AGE,
        "SELECT shard, partition, holder, extract(epoch FROM now() - heartbeat_at) FROM pipeline.leases",
    ),
    (
        f.TABLE_ROWS,
        _OF_TABLES.format("greatest(c.reltuples, 0)"),
    ),
    (
        f.TABLE_BYTES,
        _OF_TABLES.format("pg_total_relation_size(c.oid)"),
    ),
    (f.HUB_REQUESTS, "SELECT hub, requests FROM pipeline.hub_requests"),
    (f.HUB_FAILURES, "SELECT hub, failures FROM pipeline.hub_requests"),
    (f.DATABASE_BYTES, "SELECT pg_database_size(current_database())"),
)
"""Each gives the values of a metric's labels, and its value."""
_SNAPSHOTS: Final = (
    "SELECT CASE WHEN folded_file IS NOT DISTINCT FROM file THEN 'folded' ELSE 'waiting' END, count(*) "
    "FROM pipeline.snapshots GROUP BY 1"
)
_USERS_SECONDS: Final = 60.0
"""How often it is counted what there is a line of per user."""

_EVENTS: Final = sa.text(
    "SELECT sum(events_written), sum(events_with_rows - events_written), sum(events_without_rows), "
    "sum(events_filtered), sum(events_quarantined), sum(bytes), sum(micro_batches), sum(postgres_seconds) "
    "FROM pipeline.coverage"
)
_OUTCOMES: Final = ("written", "unchanged", "without_rows", "filtered", "quarantined")
_ROWS: Final = (
    "SELECT table_name, sum(rows_inserted), sum(rows_updated), sum(rows_deleted) FROM pipeline.hour_rows "
    "WHERE partition {} :recent GROUP BY 1"
)
_OLDER_ROWS, _RECENT_ROWS = sa.text(_ROWS.format("<")), sa.text(_ROWS.format(">="))
_CHANGES: Final = ("inserted", "updated", "deleted")
_NONE: Final = [0, 0, 0]
_COUNTED_ANEW_SECONDS: Final = 3600.0
_OLDEST_WRITTEN: Final = sa.text(
    "SELECT min(partition) FROM pipeline.coverage WHERE committed_at > now() - make_interval(secs => :seconds)"
)
"""The earliest hour that was written to lately."""
_ROUNDS: Final = sa.text(
    "SELECT sum(r.fids), extract(epoch FROM now() - min(r.started_at)), "
    "(SELECT greatest(reltuples, 0) / 256 FROM pg_class WHERE oid = 'public.user_profiles'::regclass) * count(*) "
    "FROM pipeline.snapshot_rounds AS r WHERE r.scope = 'all' AND r.finished_at IS NULL "
    "AND r.started_at > now() - interval '7 days'"
)


@dataclass
class LedgerReadings:
    """Reads the ledger again and again, in one session that is made anew if lost.

    `settings` gives them as they are now: an embedded server may have come or gone.
    """

    settings: Callable[[], Settings]
    clock: Callable[[], float] = time.monotonic
    _engine: sa.Engine | None = field(default=None, init=False)
    _older_rows: dict[str, list[int]] = field(default_factory=dict[str, list[int]], init=False)
    _recent: str = field(default="", init=False)
    _counted_at: float = field(default=float("-inf"), init=False)
    _of_users: list[Sample] = field(default_factory=list[Sample], init=False)
    _users_counted_at: float = field(default=float("-inf"), init=False)

    def read(self) -> list[Sample]:
        """All of it. Raises PostgresError, or what SQLAlchemy does, where Postgres cannot be asked."""
        settings = self.settings()
        if self._engine is None:
            self._engine = make_engine(settings.libpq_url()).execution_options(postgresql_readonly=True)
        try:
            with self._engine.connect() as connection:
                samples = [*self._of_connection(connection)]
            if self.clock() - self._users_counted_at >= _USERS_SECONDS:
                self._of_users = [*_users(self._engine, settings)]
                self._users_counted_at = self.clock()
            return samples + self._of_users
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the session."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
            self._users_counted_at = float("-inf")

    def _of_connection(self, connection: sa.Connection) -> Iterator[Sample]:
        yield from _shards(connection)
        for gap in gaps.all_gaps(connection, only_open=True):
            yield f.GAP_BLOCKS.of(gap.heights.last - gap.heights.first + 1, gap.shard, gap.reason)
        yield from _events(connection)
        yield from self._rows(connection)
        for family, query in _QUERIES:
            for *labels, value in connection.exec_driver_sql(query):
                yield family.of(value, *labels)
        yield from _backfill(connection)

    def _rows(self, connection: sa.Connection) -> Iterator[Sample]:
        """Rows by table. There is a line per hour, table and shard: those that nothing is added to are summed once."""
        now = self.clock()
        if now - self._counted_at > _COUNTED_ANEW_SECONDS:
            self._counted_at, self._recent = now, ""
        written = connection.execute(_OLDEST_WRITTEN, {"seconds": now - self._counted_at + 60}).scalar()
        recent = min(filter(None, (written, Hour.of(time.time() - 2 * HOUR_SECONDS).key)))
        if not self._recent or recent < self._recent:
            self._recent, self._older_rows = recent, _by_table(connection, _OLDER_ROWS, recent)
        since = _by_table(connection, _RECENT_ROWS, self._recent)
        for table in sorted(self._older_rows.keys() | since.keys()):
            counts = zip(_CHANGES, self._older_rows.get(table, _NONE), since.get(table, _NONE), strict=True)
            for change, older, newer in counts:
                yield f.ROWS.of(older + newer, table, change)


def _users(engine: sa.Engine, settings: Settings) -> Iterator[Sample]:
    with engine.connect() as connection:
        for state, count in connection.exec_driver_sql(_SNAPSHOTS):
            yield f.SNAPSHOT_FIDS.of(count, state)
    if settings.targets == "set":
        yield from _targets(engine, settings.redis_url)


def _targets(engine: sa.Engine, redis_url: str | None) -> Iterator[Sample]:
    with engine.connect() as connection:
        known = directory.numbers(connection)
    for reason, count in known.by_reason.items():
        yield f.TARGETS.of(count, reason)
    yield f.TARGETS_UNSYNCED.of(known.unsynced)
    yield f.TARGETS_FAILING.of(known.failing)
    found = coherence.compare(engine, redis_url)
    yield f.REDIS_UP.of(found.reachable)
    if found.reachable:
        yield f.CACHE_DIFFERENCES.of(len(found.missing), "missing")
        yield f.CACHE_DIFFERENCES.of(len(found.extra), "extra")


def _by_table(connection: sa.Connection, query: sa.TextClause, recent: str) -> dict[str, list[int]]:
    return {table: [int(n) for n in counts] for table, *counts in connection.execute(query, {"recent": recent})}


def _shards(connection: sa.Connection) -> Iterator[Sample]:
    now = datetime.now(UTC)
    for shard, origin in sorted(ledger.origins(connection).items()):
        yield f.SHARD_ORIGIN.of(origin.height, shard)
        last = ledger.last_covered(connection, shard)
        if last is None:
            continue
        cursor_height, last_block_at = last
        unfolded = heights.holes(ledger.covered(connection, shard, tables=OUTPUTS), origin.height, cursor_height)
        holes = heights.without(unfolded, gaps.by_snapshots(connection, shard))
        yield f.SHARD_CURSOR.of(cursor_height, shard)
        yield f.SHARD_LAG.of(max(0.0, (now - last_block_at).total_seconds()), shard)
        yield f.SHARD_HOLES.of(heights.height_count(holes), shard)


def _events(connection: sa.Connection) -> Iterator[Sample]:
    *outcomes, event_bytes, batches, seconds = connection.execute(_EVENTS).one()
    for outcome, count in zip(_OUTCOMES, outcomes, strict=True):
        yield f.EVENTS.of(count or 0, outcome)
    yield f.EVENT_BYTES.of(event_bytes or 0)
    yield f.BATCHES.of(batches or 0)
    yield f.BATCH_SECONDS.of(seconds or 0.0)


def _backfill(connection: sa.Connection) -> Iterator[Sample]:
    done, seconds, expected = connection.execute(_ROUNDS).one()
    if done is None:
        return
    yield f.BACKFILL_DONE.of(done)
    yield f.BACKFILL_EXPECTED.of(max(expected, done))
    if done and seconds:
        yield f.BACKFILL_ETA.of(max(0.0, float(expected) - float(done)) * float(seconds) / float(done))
