"""Logs with a gap, and the run that heals it."""

from collections.abc import Iterable

import msgspec

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.hub.wire import height_of
from fc_pipeline.repair.gaps import HealingPlan, heal_gaps
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline_tests.support.workbench import Workbench

Line = tuple[int, int, int, str, str | None]
"""Shard, heights, reason, and how it was healed."""


def gaps_of(bench: Workbench) -> list[Line]:
    query = "SELECT shard, from_height, to_height, reason, healed_how FROM pipeline.gaps ORDER BY 1, 2"
    return [tuple(row) for row in bench.rows(query)]


def backfilling(bench: Workbench, run_id: str, scope: BackfillScope) -> Backfill:
    return Backfill(bench.replica, run_id, scope)


def heal(bench: Workbench, run_id: str = "healer") -> HealingPlan:
    return heal_gaps(bench.replica, run_id, lambda scope: backfilling(bench, run_id, scope))


def part(lines: Iterable[bytes], bounds: dict[int, int]) -> EventLog:
    """The log up to these heights of its shards, inclusive."""
    kept: list[bytes] = []
    for line in lines:
        event = msgspec.json.decode(line)
        if height_of(event["id"]) <= bounds[event["shardIndex"]]:
            kept.append(line)
    return log_from_lines(kept)


def height_at(log: EventLog, share: float) -> dict[int, int]:
    """Per shard the height so far along the log."""
    return {n: height_of(s.event_ids[int(share * (len(s.event_ids) - 1))]) for n, s in log.shards.items()}
