"""A backlog is folded in two sessions beside each other, the shards' halves: the same tables, and faults of either."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.feed import lanes
from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.outcomes import Written
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

BATCH_EVENTS = 150
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND application_name LIKE 'fc_pipeline run%'"
)


@pytest.fixture
def folded_by(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Whatever is folded is much; notes which session folded which shards."""
    monkeypatch.setattr(lanes, "MANY_EVENTS", 1)
    noted: dict[int, list[int]] = {}
    fold = FoldSession.fold

    def noting(self: FoldSession, batch: MicroBatch) -> dict[str, Written]:
        noted.setdefault(self.backend_pid, []).append(batch.shard)
        return fold(self, batch)

    monkeypatch.setattr(FoldSession, "fold", noting)
    return noted


@pytest.fixture
def expected(other_database: Database, tmp_path: Path, lines: list[bytes]) -> dict[str, list[str]]:
    """The tables after a run that folds in one session."""
    with serving(log_from_lines(lines)) as url, workbench(other_database, tmp_path / "other", url) as bench:
        bench.run()
        return bench.dump()


@pytest.fixture
def bench(database: Database, lake: Path, lines: list[bytes]) -> Iterator[Workbench]:
    with (
        serving(log_from_lines(lines)) as url,
        workbench(database, lake, url, batch_events=BATCH_EVENTS) as opened,
    ):
        yield opened


def test_each_session_folds_shards_of_its_own(
    expected: dict[str, list[str]], bench: Workbench, folded_by: dict[int, list[int]]
) -> None:
    progress = bench.run()
    assert [set(shards) for shards in folded_by.values()] in ([{1}, {2}], [{2}, {1}])
    assert progress.events == sum(hour.events for hour in progress.hours)
    assert bench.missing_hours() == []
    assert bench.dump() == expected


def test_what_is_little_is_folded_in_one_session(
    bench: Workbench, folded_by: dict[int, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MANY_EVENTS", 1_000_000)
    bench.run()
    assert [set(shards) for shards in folded_by.values()] == [{1, 2}]


@pytest.mark.parametrize("lost_shard", [1, 2])
def test_a_session_that_is_lost_is_opened_again(
    expected: dict[str, list[str]],
    bench: Workbench,
    folded_by: dict[int, list[int]],
    monkeypatch: pytest.MonkeyPatch,
    lost_shard: int,
) -> None:
    lost: list[int] = []
    fold = FoldSession.fold

    def losing(self: FoldSession, batch: MicroBatch) -> dict[str, Written]:
        if batch.shard == lost_shard and not lost:
            lost.append(self.backend_pid)
            with bench.replica.engine.begin() as connection:
                connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": self.backend_pid})
        return fold(self, batch)

    monkeypatch.setattr(FoldSession, "fold", losing)
    bench.run()
    assert lost
    assert len(folded_by) > len({1, 2})
    assert bench.missing_hours() == []
    assert bench.dump() == expected


def test_a_run_that_is_told_to_stop_leaves_both_sessions(bench: Workbench, folded_by: dict[int, list[int]]) -> None:
    """Both wait for a lock that somebody else holds for good."""
    stopping = threading.Event()
    running = threading.Thread(target=lambda: bench.run(should_stop=stopping.is_set))
    with bench.replica.engine.begin() as holding:
        holding.exec_driver_sql("LOCK TABLE casts")
        running.start()
        while len(bench.rows(WAITING)) < 2:
            assert running.is_alive()
        stopping.set()
        running.join()
        assert bench.rows(WAITING) == []
    assert bench.rows("SELECT count(*) FROM casts")[0][0] == 0
    bench.run()
    assert bench.missing_hours() == []
