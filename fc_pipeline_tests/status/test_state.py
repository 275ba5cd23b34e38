"""What a replica's state is called, and the exit codes that monitoring reads."""

from datetime import UTC, datetime

import pytest

from fc_pipeline.cli.status import EXIT_CODES
from fc_pipeline.status.status import LEVEL_WITHIN_BLOCKS, GapStatus, ReplicaState, ReplicaStatus, ShardStatus

OPEN_GAP = GapStatus(1, 5, 6, "lost", datetime(2026, 1, 1, tzinfo=UTC), None, None, None)


def shard(number: int, blocks_behind: int | None, holes: tuple[tuple[int, int], ...] = ()) -> ShardStatus:
    return ShardStatus(number, 1, 100, 90, blocks_behind, 1.0, len(holes), holes, 0)


def status(*shards: ShardStatus, error: str | None = None, has_hub: bool = True, gaps: tuple[GapStatus, ...] = ()):
    return ReplicaStatus(error, has_hub, shards, (), {}, None, gaps)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (status(shard(1, 0), shard(2, LEVEL_WITHIN_BLOCKS)), "complete"),
        (status(shard(1, 0), shard(2, LEVEL_WITHIN_BLOCKS + 1)), "behind"),
        (status(), "behind"),
        (status(shard(1, None), error="down"), "hub_unreachable"),
        (status(error="down"), "hub_unreachable"),
        (status(shard(1, None), error="none is configured", has_hub=False), "no_hub"),
        (status(shard(1, 900, ((5, 6),))), "holes"),
        (status(shard(1, 0), gaps=(OPEN_GAP,)), "holes"),
        (status(shard(1, None, ((5, 6),)), error="down"), "holes"),
    ],
)
def test_the_worst_is_what_is_said(found: ReplicaStatus, state: ReplicaState) -> None:
    assert found.state == state
    assert found.is_complete == (state == "complete")


def test_each_state_has_its_exit_code() -> None:
    assert EXIT_CODES == {"complete": 0, "no_hub": 0, "hub_unreachable": 3, "behind": 4, "holes": 5}
