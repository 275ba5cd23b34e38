"""A good log of two shards, and the same with poison in the places of some of its events."""

import random
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import Block, EventLog, ShardLog, log_from_lines
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.poison_kinds import KINDS, Kind, Place

__all__ = ["Planted", "Spoilt", "good_log", "spoil"]


@dataclass(frozen=True)
class Planted:
    """A poison event in the log."""

    name: str
    kind: Kind
    place: Place
    raw: bytes


@dataclass
class Spoilt:
    """`log` has the poison in the places of good events, `reference` what the tables are to have instead."""

    log: EventLog
    reference: EventLog
    planted: list[Planted] = field(default_factory=list[Planted])

    def expected_quarantine(self) -> dict[tuple[int, bytes], tuple[str, str]]:
        """Shard and raw bytes → the kind's name and the reason, of what must be quarantined."""
        return {(p.place.shard, p.raw): (p.name, p.kind.reason) for p in self.planted if p.kind.reason is not None}


def good_log(seed: int, events: int, *, fids: int = 60) -> EventLog:
    """A log without anything odd in it, over the end of an hour."""
    start_unix = HOUR_UNIX + 3600 - int(events / 60)
    return log_from_lines(generate(seed, fids=fids, events=events, events_per_second=30.0, start_unix=start_unix))


def spoil(good: EventLog, seed: int, share: float = 0.01, names: Iterable[str] = KINDS) -> Spoilt:
    """Put kinds of poison, each about equally often, in the places of a share of the events that are no block's first.

    At least each kind once. No two stand side by side: of two that are no JSON, nobody can say where one ends.
    """
    chosen = random.Random(seed)
    places = [
        (shard, index)
        for shard, log in good.shards.items()
        for index, event_id in enumerate(log.event_ids)
        if event_id & 16383  # BLOCK_CONFIRMED is no event of a user
    ]
    wanted = list(names)
    count = max(len(wanted), int(good.events * share))
    spots = _apart(chosen.sample(places, min(3 * count, len(places))), count)
    kinds = [wanted[n % len(wanted)] for n in range(len(spots))]
    chosen.shuffle(kinds)
    planted: dict[tuple[int, int], Planted] = {}
    for (shard, index), name in zip(spots, kinds, strict=True):
        place = Place(shard, good.shards[shard].event_ids[index])
        planted[shard, index] = Planted(name, KINDS[name], place, KINDS[name].make(place))
    spoilt = Spoilt(EventLog(), EventLog(), list(planted.values()))
    for shard, log in good.shards.items():
        rows = list(zip(log.event_ids, log.raws, strict=True))
        bad = [(i, planted[shard, n].raw if (shard, n) in planted else raw) for n, (i, raw) in enumerate(rows)]
        spoilt.log.shards[shard] = _shard_log(shard, log, bad)
        clean: list[tuple[int, bytes]] = []
        for n, (event_id, raw) in enumerate(rows):
            poison = planted.get((shard, n))
            if poison is None:
                clean.append((event_id, raw))
            elif poison.kind.stored is not None:
                clean.append((event_id, poison.kind.stored(poison.place)))
        spoilt.reference.shards[shard] = _shard_log(shard, log, clean)
    return spoilt


def _apart(places: Sequence[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    """The first `count` of these places of which none adjoins another, in order."""
    taken: set[tuple[int, int]] = set()
    for shard, index in places:
        if len(taken) < count and not {(shard, index - 1), (shard, index + 1)} & taken:
            taken.add((shard, index))
    return sorted(taken)


def _shard_log(shard: int, like: ShardLog, rows: Sequence[tuple[int, bytes]]) -> ShardLog:
    """A shard's log with these rows, which need not be JSON, at the heights and times of another."""
    made = ShardLog(shard)
    ids, raws = array("Q", [event_id for event_id, _ in rows]), [raw for _, raw in rows]
    made.append(Block(like.head_height, ids.tolist(), raws, like.newest_unix))
    return made
