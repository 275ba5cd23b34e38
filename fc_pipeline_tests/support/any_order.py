"""Folds a log of several shards in order, and in any other: cut anew, repeated, interleaved."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hub.decode import decode_events
from fc_pipeline.sample_hub.generator.simulation import generate
from fc_pipeline_tests.support.events import HOUR_UNIX, Blocks, micro_batch
from fc_pipeline_tests.support.folded import Dump, FoldedDatabase

Log = dict[int, Blocks]
"""Blocks per shard."""


@dataclass(frozen=True)
class Piece:
    """Heights that are folded as one micro-batch."""

    shard: int
    first: int
    last: int


def cuts(log: Log, rng: Random) -> Iterator[Piece]:
    """The log cut at random block boundaries, each height in one piece."""
    for shard, blocks in log.items():
        heights = sorted(blocks)
        while heights:
            length = rng.randint(1, len(heights))
            yield Piece(shard, heights[0], heights[length - 1])
            heights = heights[length:]


def fold_in_order(replica: FoldedDatabase, session: FoldSession, log: Log, *, shard_count: int | None = None) -> Dump:
    """Block by block, the shards one after the other; `shard_count` where others than home shards carry copies."""
    replica.empty()
    for shard, blocks in log.items():
        for height in sorted(blocks):
            session.fold(micro_batch(blocks, height, height, shard, shard_count=shard_count))
    return replica.dump()


def fold_anyhow(
    replica: FoldedDatabase, session: FoldSession, log: Log, rng: Random, *, shard_count: int | None = None
) -> Dump:
    """In any order, with other cuts, and with pieces folded again before and after their turn."""
    replica.empty()
    steps = [(piece, True) for piece in cuts(log, rng)]
    again = [(piece, False) for piece in cuts(log, rng)]
    steps += rng.sample(again, len(again) // 2)
    rng.shuffle(steps)
    for piece, is_new in steps:
        batch = micro_batch(log[piece.shard], piece.first, piece.last, piece.shard, shard_count=shard_count)
        (session.fold if is_new else session.refold)(batch)
    return replica.dump()


def refold_everything(session: FoldSession, log: Log, *, shard_count: int | None = None) -> None:
    for shard, blocks in log.items():
        written = session.refold(micro_batch(blocks, shard=shard, shard_count=shard_count))
        assert {table: w.rows for table, w in written.items() if w.rows} == {}


def generated_log(seed: int, events: int) -> Log:
    """A protocol-consistent log of two shards, as the sample hub serves it."""
    by_height: dict[int, dict[int, list[bytes]]] = {1: defaultdict(list), 2: defaultdict(list)}
    raws = list(generate(seed, fids=25, events=events, start_unix=HOUR_UNIX, events_per_second=40))
    _, decoded, undecodable = decode_events(raws)
    assert not undecodable
    for one, event in zip(raws, decoded, strict=True):
        by_height[event.shardIndex][event.height].append(one)
    return {shard: dict(blocks) for shard, blocks in by_height.items()}
