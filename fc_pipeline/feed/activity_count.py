"""Counts `fid_activity` of an hour from the raw log while the hour may still be written."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from fc_pipeline.feed.folded_log import covered_heights, files_of, refuse_missing
from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.heights import HeightRange, height_count, overlap, without
from fc_pipeline.hours import Hour
from fc_pipeline.reconcile.quarantined import quarantined_of_hour, without_quarantined
from fc_pipeline.replica import Replica
from fc_pipeline.store import ledger
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
        self._quarantined: dict[int, frozenset[bytes]] = {}
        self._shard_count: int | None = None

    def catch_up_roughly(self) -> None:
        """Count until only a few heights are left, or until folding is as fast as counting."""
        for _ in range(MAX_ROUNDS):
            self._count(self._uncounted())
            if sum(map(height_count, self._uncounted().values())) <= CLOSE_HEIGHTS:
                return

    def total(self) -> pa.Table:
        """The counts, with those folded since. Raises LakeError if the log lacks heights that the ledger covers."""
        self._count(self._uncounted())
        return self._counts

    def _uncounted(self) -> dict[int, list[HeightRange]]:
        """Per shard the heights that the ledger covers by now; only shards that have some."""
        with self._replica.engine.connect() as connection:
            shards = sorted(ledger.covered_shards(connection, self._hour.key))
        self._shard_count = self._replica.shard_count()
        quarantined = {shard: quarantined_of_hour(self._replica, self._hour, shard) for shard in shards}
        if any(not raws <= quarantined[shard] for shard, raws in self._quarantined.items()):
            self._counted, self._counts = {}, FID_ACTIVITY.arrow([])
        self._quarantined = quarantined
        left = {
            shard: without(covered_heights(self._replica, shard, self._hour), self._counted.get(shard, []))
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
        wanted = [file for file in files if overlap([HeightRange(file.from_height, file.to_height)], heights)]
        counts = [FID_ACTIVITY.arrow([])]
        for batch in self._replica.log.read(wanted, naming=self._naming):
            self._check_stop()
            for part in batch.parts_within(heights):
                micro = prepare(
                    without_quarantined(part, self._quarantined[shard]),
                    partition=self._hour.key,
                    hour_unix=self._hour.start_unix,
                    tables={FID_ACTIVITY.name},
                    shard_count=self._shard_count,
                )
                if micro.activity is not None:
                    counts.append(micro.activity)
        return sum_activity(pa.concat_tables(counts))
