"""Folding into tables of millions of rows: one small transaction, and throughput beside that of an empty database."""

import statistics
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fc_pipeline.config.settings import Settings
from fc_pipeline.fold.micro_batch import MicroBatch, prepare
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.decode import batch_from_raws, split_page
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.wire import height_of
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.benchmarks.stage import open_stage

__all__ = ["batches", "drop_indexes", "event_batches", "fill", "fold_into_large_tables"]

FILLED_FIDS = 400_000
_HOUR_UNIX = 1_793_491_200
_SHARD = 1

_TIME = "to_timestamp(1700000000 + random() * 90000000)"
_FID = f"1 + (random() * {FILLED_FIDS})::bigint"
_HASH = "decode(md5(i::text) || left(md5(i::text || '{salt}'), 8), 'hex')"
_ENVELOPE = "sha256(i::text::bytea), sha512(i::text::bytea)"
# Keys and widths as real messages have them; none is a key of the generated log.
_FILL = {
    "casts": (
        "hash, fid, timestamp, text, type, parent_fid, parent_hash, parent_url, embeds, signer, signature, version",
        f"{_HASH.format(salt='cast')}, {_FID}, {_TIME}, repeat(md5(i::text), 1 + i % 5), 'cast', "
        f"CASE WHEN i % 2 = 0 THEN {_FID} END, CASE WHEN i % 2 = 0 THEN {_HASH.format(salt='cast')} END, "
        "CASE WHEN i % 7 = 0 THEN 'https://channels.example/' || i % 3000 END, "
        f'\'[{{"url": "https://example.org/picture"}}]\', {_ENVELOPE}',
    ),
    "reactions": (
        "fid, type, target, target_fid, target_hash, timestamp, hash, signer, signature, version",
        f"{_FID}, CASE WHEN i % 5 = 0 THEN 'recast' ELSE 'like' END, int8send(i) || {_HASH.format(salt='target')}, "
        f"{_FID}, decode(md5((i % 1000003)::text) || '00000000', 'hex'), {_TIME}, {_HASH.format(salt='reaction')}, "
        f"{_ENVELOPE}",
    ),
    "links": (
        "fid, type, target_fid, timestamp, hash, signer, signature, version",
        f"1 + i % {FILLED_FIDS}, 'follow', 1000000 + i / 40 * 7 + i % 7, {_TIME}, {_HASH.format(salt='link')}, "
        f"{_ENVELOPE}",
    ),
}


def fold_into_large_tables(
    folder: Path, log: EventLog, *, rows: int, batch_events: int = 10_000, small_events: int = 1_000, small: int = 60
) -> dict[str, Any]:
    """Fold one log into an empty database and into one whose casts, reactions and links have `rows` rows each.

    Both take turns, batch by batch, so that what else the machine does slows both alike. The last `small` batches are
    of `small_events` events: their milliseconds, commit included, are of the filled database.
    """
    with (
        open_stage(folder) as stage,
        _session(stage.settings()) as empty,
        _session(filled := stage.settings()) as large,
    ):
        fill_seconds = fill(filled, rows)
        events = len(log.shards[_SHARD].raws)
        cut = max(0, events - small * small_events)
        seconds = {"empty": 0.0, "large": 0.0}
        folded = 0
        for number, batch in enumerate(batches(log, 0, cut, batch_events)):
            turns = (("empty", empty), ("large", large))
            for name, session in turns if number % 2 else reversed(turns):
                seconds[name] += _seconds(session, batch)
            folded += batch.events
        small_ms = [_seconds(large, batch) * 1000 for batch in batches(log, cut, events, small_events)]
    return {
        "rows_filled_casts": rows,
        "rows_filled_reactions": rows,
        "rows_filled_links": rows,
        "fill_seconds": fill_seconds,
        "events": folded,
        "empty_events_per_second": folded / seconds["empty"],
        "large_events_per_second": folded / seconds["large"],
        "large_of_empty": seconds["empty"] / seconds["large"],
        "transactions": len(small_ms),
        "transaction_events": small_events,
        "transaction_ms_median": statistics.median(small_ms),
        "transaction_ms_max": max(small_ms),
    }


@contextmanager
def _session(settings: Settings) -> Generator[FoldSession]:
    engine = sa.create_engine(settings.sqlalchemy_url())
    ensure_schema(engine)
    engine.dispose()
    with FoldSession(settings.libpq_url(), "bench") as session:
        yield session


def _seconds(session: FoldSession, batch: MicroBatch) -> float:
    started = time.perf_counter()
    session.fold(batch)
    return time.perf_counter() - started


def batches(log: EventLog, first: int, last: int, size: int) -> Iterator[MicroBatch]:
    """Events `first` to `last` of the shard in micro-batches of about `size`, cut between blocks."""
    for batch in event_batches(log, first, last, size):
        yield prepare(batch, partition="bench", hour_unix=_HOUR_UNIX, tables=tuple(DATA_TABLES), shard_count=None)


def event_batches(log: EventLog, first: int, last: int, size: int) -> Iterator[EventBatch]:
    """The same as they come from a hub."""
    ids, raws = list(log.shards[_SHARD].event_ids), list(log.shards[_SHARD].raws)
    cuts = sorted({_block_start(ids, at) for at in (*range(first, last, size), last)})
    for start, end in pairwise(cuts):
        from_height, to_height = height_of(ids[start]), height_of(ids[end - 1])
        events = split_page(b'{"events":[' + b",".join(raws[start:end]) + b"]}")
        times = dict.fromkeys(range(from_height, to_height + 1), _HOUR_UNIX)
        yield batch_from_raws(_SHARD, from_height, to_height, events, times)


def _block_start(ids: list[int], at: int) -> int:
    while 0 < at < len(ids) and height_of(ids[at]) == height_of(ids[at - 1]):
        at += 1
    return at


def fill(settings: Settings, rows: int, *, version: str = "1") -> float:
    """Add rows to casts, reactions and links, the `i`th of them of this version (SQL).

    Rows first, indexes after: minutes instead of an hour. Statistics and a checkpoint, so that neither is timed.
    Gives the seconds that it took.
    """
    started = time.perf_counter()
    engine = sa.create_engine(settings.sqlalchemy_url())
    for table, (columns, values) in _FILL.items():
        with engine.begin() as connection:
            indexes, key = drop_indexes(connection, table)
            insert = f"INSERT INTO {table} ({columns}) SELECT {values}, {version} FROM generate_series(1, {rows}) AS i"
            connection.execute(sa.text(insert.replace(":", "\\:")))
            connection.execute(sa.text(f"ALTER TABLE {table} ADD {key}"))
            for index in indexes:
                connection.execute(sa.text(index))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"VACUUM ANALYZE {', '.join(_FILL)}"))
        connection.execute(sa.text("CHECKPOINT"))
    engine.dispose()
    return time.perf_counter() - started


def drop_indexes(connection: sa.Connection, table: str) -> tuple[list[str], str]:
    """Drop a table's indexes and primary key; gives the statements of the first and the definition of the second."""
    name, key = connection.execute(
        sa.text(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = CAST(:table AS regclass) AND contype = 'p'"
        ),
        {"table": table},
    ).one()
    connection.execute(sa.text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    found = connection.execute(
        sa.text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = :table"),
        {"table": table},
    ).tuples()
    statements: list[str] = []
    for index, definition in found.all():
        connection.execute(sa.text(f"DROP INDEX {index}"))
        statements.append(definition.replace(" ON ONLY ", " ON "))  # of a partitioned table, with its partitions'
    return statements, f"CONSTRAINT {name} {key}"
