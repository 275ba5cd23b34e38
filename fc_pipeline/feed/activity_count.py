"""Counts `fid_activity` of an hour from the raw log while the hour may still be written."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from fc_pipeline.feed.folded_log import covered_heights, files_of, refuse_missing
from fc_pipeline.fold.batches import parts_within
from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.hours import Hour
from fc_pipeline.reconcile.set_aside import set_aside_of_hour, without_set_aside
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger
from fc_pipeline.store.ledger import HeightRange
from fc_pipeline.tables.fid_activity import FID_ACTIVITY, sum_activity

__all__ = ["CLOSE_HEIGHTS", "ActivityCount"]

CLOSE_HEIGHTS: Final = 20
"""This few heights are counted within a second or two from any store."""
MAX_ROUNDS: Final = 10


class ActivityCount:
    """Counts of all shards of an hour as far as the ledger covers it, as rows of `fid_activity`.

    It resumes from what it has counted: `catch_up_roughly` counts while others fold the hour, so that `total`, called
    while no run can, counts only the heights folded since. Both may be called repeatedly without counting anything
    twice, because folded heights stay folded; events replayed from the quarantine meanwhile make it start over. With
    `naming`, only the rows of these FIDs are right. `check_stop` may raise Stopped.
    """

    def __init__(
        self, replica: Replica, hour: Hour, check_stop: Callable[[], None], *, naming: Collection[int] = ()
    ) -> None:
        self._replica = replica
        self._hour = hour
        self._check_stop = check_stop
        self._naming = naming
        self._counted: dict[int, list[HeightRange]] = {}
        self._counts = FID_ACTIVITY.arrow([])
        self._set_aside: dict[int, frozenset[bytes]] = {}

    def catch_up_roughly(self) -> None:
        """Count until only a few heights are left, or until folding is as fast as counting."""
        for _ in range(MAX_ROUNDS):
            self._count(self._uncounted())
            if sum(map(ledger.height_count, self._uncounted().values())) <= CLOSE_HEIGHTS:
                return

    def total(self) -> pa.Table:
        """The counts, with those folded since. Raises LakeError if the log lacks heights that the ledger covers."""
        self._count(self._uncounted())
        return self._counts

    def _uncounted(self) -> dict[int, list[HeightRange]]:
        """Per shard the heights that the ledger covers by now; only shards that have some."""
        with self._replica.engine.connect() as connection:
            shards = sorted(ledger.covered_shards(connection, self._hour.key))
        set_aside = {shard: set_aside_of_hour(self._replica, self._hour, shard) for shard in shards}
        if any(not raws <= set_aside[shard] for shard, raws in self._set_aside.items()):
            self._counted, self._counts = {}, FID_ACTIVITY.arrow([])
        self._set_aside = set_aside
        left = {
            shard: ledger.without(covered_heights(self._replica, shard, self._hour), self._counted.get(shard, []))
            for shard in shards
        }
        return {shard: heights for shard, heights in left.items() if heights}

    def _count(self, left: dict[int, list[HeightRange]]) -> None:
        if not left:
            return
        with ThreadPoolExecutor(len(left)) as threads:  # a listing may take a second: list concurrently
            counted = list(threads.map(self._count_shard, left, left.values()))
        self._counts = sum_activity(pa.concat_tables([self._counts, *counted]))
        for shard, heights in left.items():
            self._counted[shard] = sorted([*self._counted.get(shard, []), *heights])

    def _count_shard(self, shard: int, heights: Sequence[HeightRange]) -> pa.Table:
        files = files_of(self._replica, shard, self._hour, heights)
        refuse_missing(self._hour, shard, heights, files)
        wanted = [file for file in files if ledger.overlap([HeightRange(file.from_height, file.to_height)], heights)]
        counts = [FID_ACTIVITY.arrow([])]
        for batch in self._replica.log.read(wanted, naming=self._naming):
            self._check_stop()
            for part in parts_within(batch, heights):
                micro = prepare(
                    without_set_aside(part, self._set_aside[shard]),
                    partition=self._hour.key,
                    hour_unix=self._hour.start_unix,
                    tables={FID_ACTIVITY.name},
                )
                if micro.activity is not None:
                    counts.append(micro.activity)
        return sum_activity(pa.concat_tables(counts))
