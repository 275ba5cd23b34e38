"""JSON page → Arrow tables on one core, without a hub or Postgres."""

import time

from fc_pipeline.feed.tuning import tune_process
from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.hub.decode import batch_from_raws, split_page
from fc_pipeline.hub.wire import height_of
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.tables.registry import DATA_TABLES

__all__ = ["decode_pages"]

PAGE_EVENTS = 10_000
_HOUR_UNIX = 1_793_491_200


def decode_pages(log: EventLog, rounds: int = 3) -> dict[str, float]:
    """Split, decode, rows, Arrow, last per key, activity: the best of some rounds, by this process's own CPU time."""
    tune_process()  # as the process of a run is
    shard = log.shards[1]
    ids, raws = list(shard.event_ids), list(shard.raws)
    starts = range(0, len(raws) - PAGE_EVENTS + 1, PAGE_EVENTS)
    pages = [(ids[at], b'{"events":[' + b",".join(raws[at : at + PAGE_EVENTS]) + b"]}") for at in starts]
    rates = [len(pages) * PAGE_EVENTS / _cpu_seconds(pages) for _ in range(rounds)]
    return {"events": len(pages) * PAGE_EVENTS, "events_per_second": max(rates)}


def _cpu_seconds(pages: list[tuple[int, bytes]]) -> float:
    started = time.process_time()
    for first_id, body in pages:
        events = split_page(body)
        height = height_of(first_id)
        times = dict.fromkeys(range(height, height + PAGE_EVENTS + 1), _HOUR_UNIX)
        batch = batch_from_raws(1, height, height + PAGE_EVENTS, events, times)
        prepare(batch, partition="bench", hour_unix=_HOUR_UNIX, tables=tuple(DATA_TABLES), shard_count=None)
    return time.process_time() - started
