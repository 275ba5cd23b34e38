"""What the filter costs a fold, what folding saves of a profile-heavy hour, and how fast a new target is completed."""

import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from fc_pipeline.feed.progress import HourProgress, Progress
from fc_pipeline.feed.rebuild import replay_hour
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.fold.selection import TargetAccess
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.replica import open_replica
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline.targets import coherence, owner
from fc_pipeline_tests.benchmarks.large_tables import batches, event_batches
from fc_pipeline_tests.benchmarks.stage import BenchmarkServers, open_stage
from fc_pipeline_tests.benchmarks.target_set import follow_set, open_redis
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    Event,
    blocks_of,
    event_batch,
    merge,
    merge_proof,
    proof,
    user_data,
)

__all__ = ["complete_target", "fold_profiles", "fold_targets_only"]

SETS = {"set_1_000": (1_000, 10), "set_20_000": (20_000, 20), "set_1_000_000": (1_000_000, 50)}
"""Sizes, and roots among them: the first is asked of Redis, and so is the second; of the third there is a copy."""
BATCH_EVENTS = 10_000
PROFILE_USERS = 20
PROFILE_MESSAGES = 40_000
NAMES_PER_USER = 2
_KINDS = ("DISPLAY", "BIO", "PFP")


def fold_targets_only(folder: Path, log: EventLog, *, events: int) -> dict[str, Any]:
    """Fold one log with FC_TARGETS=all and with sets of several sizes, which take turns batch by batch."""
    figures: dict[str, Any] = {}
    with open_stage(folder) as stage, open_redis(folder) as redis_url:
        seconds = {"all": 0.0, **dict.fromkeys(SETS, 0.0)}
        filtered = dict.fromkeys(seconds, 0)
        with _sessions(stage, redis_url) as sessions:
            folded = rows = 0
            for number, batch in enumerate(batches(log, 0, events, BATCH_EVENTS)):
                turns = list(sessions.items())
                for name, session in turns if number % 2 else reversed(turns):
                    started = time.perf_counter()
                    session.fold(batch)
                    # The first one warms: plans, Redis, the local copy.
                    seconds[name] += time.perf_counter() - started if number else 0.0
                    filtered[name] += session.rows_filtered
                folded += batch.events if number else 0
                rows += sum(len(part) for part in batch.rows.values())
        figures["events"] = folded
        for name, taken in seconds.items():
            figures[f"{name}_events_per_second"] = folded / taken
            figures[f"{name}_of_all"] = seconds["all"] / taken
            figures[f"{name}_rows_kept"] = 1 - filtered[name] / rows
    return figures


@contextmanager
def _sessions(stage: BenchmarkServers, redis_url: str) -> Generator[dict[str, FoldSession]]:
    opened: dict[str, FoldSession] = {}
    try:
        for name in ("all", *SETS):
            settings = stage.settings(redis_url=redis_url, targets="set" if name in SETS else "all")
            engine = sa.create_engine(settings.sqlalchemy_url())
            ensure_schema(engine)
            if name in SETS:
                follow_set(engine, *SETS[name])
                coherence.warm(engine, redis_url)
            engine.dispose()
            access = TargetAccess(redis_url) if name in SETS else None
            opened[name] = FoldSession(settings.libpq_url(), "bench", targets=access).__enter__()
        yield opened
    finally:
        for session in opened.values():
            session.__exit__(None, None, None)


def fold_profiles(folder: Path) -> dict[str, Any]:
    """An hour in which few users change their profiles and names over and over: rows written against messages."""
    figures: dict[str, Any] = {"users": PROFILE_USERS, "messages": 0}
    with open_stage(folder) as stage:
        for micro_batches in (4, 8, 40):
            done = _folded_profiles(stage, micro_batches)
            figures["messages"] = done.naive_rows
            saved = f"saved_by_{micro_batches}_micro_batches"
            figures[f"{saved}_rows_written"] = done.rows_written
            figures[f"{saved}_percent"] = 100 * (1 - done.rows_written / done.naive_rows)
            figures[f"{saved}_percent_of_messages"] = 100 * (1 - done.message_rows_written / done.naive_rows)
    return figures


def _folded_profiles(stage: BenchmarkServers, micro_batches: int) -> HourProgress:
    hour = Hour(HOUR_UNIX)
    progress = Progress()
    with (
        open_replica(stage.settings()) as replica,
        BatchWriter(replica, "bench", tuple(DATA_TABLES), progress) as writer,
    ):
        writer.hold(hour, [1])
        for batch in _profile_batches(micro_batches):
            writer.fold_new(writer.store_new([writer.prepare(hour, batch)]))
    return progress.hours[0]


def _profile_batches(micro_batches: int) -> Iterator[EventBatch]:
    """The changes in turn: a few fields of each user, and now and then another of its names."""
    changes = [_change(number) for number in range(PROFILE_MESSAGES)]
    size = PROFILE_MESSAGES // micro_batches
    blocks = blocks_of(*(changes[at : at + size] for at in range(0, PROFILE_MESSAGES, size)))
    for height in sorted(blocks):
        yield event_batch(blocks, height, height)


def _change(number: int) -> Event:
    fid = 1 + number % PROFILE_USERS
    turn = number // PROFILE_USERS
    at = HOUR_UNIX - FARCASTER_EPOCH_UNIX + turn
    if turn % 5 == 4:
        return merge_proof(proof(f"user-{fid}-{turn % NAMES_PER_USER}", fid, HOUR_UNIX + turn))
    if turn % 5 == 3:
        return merge(user_data(fid, "USERNAME", f"user-{fid}-{turn % NAMES_PER_USER}", at))
    return merge(user_data(fid, _KINDS[turn % 5], f"{fid} says {turn}", at))


def complete_target(folder: Path, log: EventLog) -> dict[str, Any]:
    """A raw log of one hour, folded for another target, is folded once more for a new one: who casts most."""
    hour = Hour(HOUR_UNIX)
    with open_stage(folder) as stage, open_redis(folder) as redis_url:
        settings = stage.settings(redis_url=redis_url, targets="set", root_fids=(1,))
        with open_replica(settings) as replica:
            with BatchWriter(replica, "bench", tuple(DATA_TABLES), Progress()) as writer:
                writer.hold(hour, [1])
                started = time.perf_counter()
                folded = 0
                casts: Counter[int] = Counter()
                for batch in event_batches(log, 0, len(log.shards[1].raws), BATCH_EVENTS):
                    prepared = writer.prepare(hour, batch)
                    writer.fold_new(writer.store_new([prepared]))
                    folded += len(batch.raws)
                    casts.update(prepared.micro_batch.rows["casts"]["fid"].to_pylist())
                first_seconds = time.perf_counter() - started
            fid = casts.most_common(1)[0][0]
            change = owner.add_root(replica.engine, [fid], follows=True, most_followed=None)
            coherence.publish(replica.engine, redis_url, change)
            started = time.perf_counter()
            only = frozenset([fid])
            with BatchWriter(replica, "bench", tuple(DATA_TABLES), Progress(), only=only) as writer:
                # Of the hour's events only those are decoded that may name the target.
                replay_hour(replica, writer, hour, only)
            seconds = time.perf_counter() - started
            with replica.engine.connect() as connection:
                rows = connection.scalar(sa.text("SELECT count(*) FROM casts WHERE fid = :fid"), {"fid": fid})
    if not rows:
        raise RuntimeError("no cast of the target was found after the second fold")
    return {
        "events": folded,
        "seconds": seconds,
        "events_per_second": folded / seconds,
        "folded_first_events_per_second": folded / first_seconds,
        "casts_of_target": rows,
    }
