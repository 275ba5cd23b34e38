"""Logs of small networks to play scenarios on: everything the generator knows, over the end of an hour."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline_tests.support.events import HOUR_UNIX

Heights = tuple[int, int, int]
"""Shard, first and last height."""

SECONDS_BEFORE_THE_HOUR = 30


def generated_network(seed: int, *, events: int = 2_400, fids: int = 40, start_unix: int | None = None) -> list[bytes]:
    """Two shards, some eighty blocks each, of which the first thirty are in the hour before."""
    start = HOUR_UNIX + 3600 - SECONDS_BEFORE_THE_HOUR if start_unix is None else start_unix
    made = generate(
        seed, fids=fids, events=events, events_per_second=30.0, start_unix=start, huge_fids=True, unknown_types=True
    )
    return list(made)


def log_of(lines: Iterable[bytes]) -> EventLog:
    """A log of its own for a hub to serve: hubs change theirs."""
    return log_from_lines(lines)


def changed(lines: Iterable[bytes], change: Callable[[dict[str, Any]], None]) -> Iterator[bytes]:
    """The events with a change made to each."""
    for line in lines:
        event = json.loads(line)
        change(event)
        yield json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def moved(lines: Iterable[bytes], shard: int, by_heights: int) -> list[bytes]:
    """The same with one shard's blocks at other heights."""

    def move(event: dict[str, Any]) -> None:
        if event["shardIndex"] == shard:
            event["id"] += by_heights << 14
            event["blockNumber"] += by_heights
            if "blockConfirmedBody" in event:
                event["blockConfirmedBody"]["blockNumber"] += by_heights

    return list(changed(lines, move))


def whole(lines: Iterable[bytes]) -> list[Heights]:
    """The heights of a log, as a ledger shows them that covers all."""
    heights: dict[int, list[int]] = {}
    for event in map(json.loads, lines):
        heights.setdefault(event["shardIndex"], []).append(event["id"] >> 14)
    return [(shard, min(found), max(found)) for shard, found in sorted(heights.items())]


def up_to(lines: Iterable[bytes], share: float) -> list[bytes]:
    """The beginning of a log: of each shard's blocks so great a share."""
    lines = list(lines)
    ends = {shard: first + int((last - first) * share) for shard, first, last in whole(lines)}
    return [line for line in lines if (event := json.loads(line))["id"] >> 14 <= ends[event["shardIndex"]]]
