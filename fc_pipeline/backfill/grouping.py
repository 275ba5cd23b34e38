"""What is fetched together, what is folded together, and what is copied together."""

from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Final

import pyarrow as pa

from fc_pipeline.store.snapshot_ledger import SnapshotLine

__all__ = ["FIDS_PER_FOLD", "chunks_of_shards", "groups_of_lines", "joined"]

FIDS_PER_FOLD: Final = 512
RECORDS_PER_FOLD: Final = 20_000
"""A transaction folds no more than these, unless a single FID has more: its statements cost the same for few."""
JOINED_BYTES: Final = 4 * 1024 * 1024


async def chunks_of_shards(
    fids: AsyncGenerator[tuple[int, int]], chunk_fids: int
) -> AsyncGenerator[Sequence[tuple[int, int]]]:
    """Chunks of one shard each: a fold of one has nothing to do with the others'."""
    held: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    async with aclosing(fids):
        async for fid, shard in fids:
            held[shard].append((fid, shard))
            if len(held[shard]) == chunk_fids:
                yield held.pop(shard)
    for rest in held.values():
        yield rest


def groups_of_lines(lines: Sequence[SnapshotLine]) -> Iterator[list[SnapshotLine]]:
    """Lines that are folded in one transaction each, where there are many of one shard."""
    group: list[SnapshotLine] = []
    records = 0
    for line in sorted(lines, key=lambda one: (one.shard, one.file)):
        if group and (len(group) >= FIDS_PER_FOLD or records + line.records > RECORDS_PER_FOLD):
            yield group
            group, records = [], 0
        group.append(line)
        records += line.records
    if group:
        yield group


def joined(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in fewer batches, each of some megabytes: every batch costs a COPY per table."""
    held: list[pa.RecordBatch] = []
    held_bytes = 0
    for batch in batches:
        if held and held_bytes + batch.nbytes > JOINED_BYTES:
            yield from _one_batch(held)
            held, held_bytes = [], 0
        held.append(batch)
        held_bytes += batch.nbytes
    if held:
        yield from _one_batch(held)


def _one_batch(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pa.Table.from_batches(batches).combine_chunks().to_batches()
