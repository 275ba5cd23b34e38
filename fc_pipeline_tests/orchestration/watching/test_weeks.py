"""Four generated weeks of day and night, hour by hour through ledger, checks, Dagster and watch: nobody is told a word.

Then a type halves.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from fc_pipeline.hours import Hour
from fc_pipeline.orchestration.checks.evaluation import evaluation_of
from fc_pipeline.orchestration.checks.gaps import evaluate_gaps
from fc_pipeline.orchestration.checks.quarantined import evaluate_quarantine_share, evaluate_unknown_types
from fc_pipeline.orchestration.checks.raw_log import evaluate_block_events, evaluate_coverage
from fc_pipeline.orchestration.checks.volume import evaluate_volume
from fc_pipeline.orchestration.names import Names
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.orchestration.watching.test_watch import Watcher
from fc_pipeline_tests.support.generated_weeks import KINDS, WEEK_HOURS, Thirds, generated
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.receiver import receiving

pytestmark = pytest.mark.slow

THIRD_SECONDS = 1200
LOOKS_AT_SECONDS = (5.0, 25.0, 105.0)
"""After an evaluation: enough for what is told at once, at the second look, and only if it stays."""
EVALUATE = (
    evaluate_volume,
    evaluate_coverage,
    evaluate_block_events,
    evaluate_gaps,
    evaluate_quarantine_share,
    evaluate_unknown_types,
)
HALVED = "likes"

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Ledger:
    """The bookkeeping of one shard with a block a second, as runs would have left it at some moment."""

    pipeline: Pipeline
    events: Mapping[str, Thirds]

    def begin(self, hours: Iterable[Hour]) -> None:
        """With all of these hours."""
        first, *_ = hours = list(hours)
        self._execute(
            "INSERT INTO pipeline.shards (shard, origin_height, origin_at, shard_count) VALUES (1, :height, :at, 1)",
            height=first.start_unix,
            at=first.start,
        )
        for hour in hours:
            self.cover(hour, 3600, self.counts(hour, 1))

    def counts(self, hour: Hour, place: int) -> dict[str, int]:
        """By type: events of the hour's first third (0), or of all of it (1)."""
        return {name: of_kind[hour][place] for name, of_kind in self.events.items()}

    def cover(self, hour: Hour, seconds: int, counts: Counts) -> None:
        """The hour's first seconds were folded, with so many events by type."""
        last = hour.start_unix + seconds - 1
        events = sum(counts.values())
        self._execute("DELETE FROM pipeline.coverage WHERE partition = :hour", hour=hour.key)
        self._execute("DELETE FROM pipeline.hour_events WHERE partition = :hour", hour=hour.key)
        self._execute(
            "INSERT INTO pipeline.coverage (shard, from_height, to_height, tables, partition, run_id, events, "
            "confirmed_events, rows_written, last_block_at) "
            "VALUES (1, :first, :last, '{casts}', :hour, 'run', :events, :events, :events, :at)",
            first=hour.start_unix,
            last=last,
            hour=hour.key,
            events=events,
            at=datetime.fromtimestamp(last, UTC),
        )
        self._execute(
            "INSERT INTO pipeline.hour_events (partition, shard, event_type, events) "
            "SELECT :hour, 1, name, n FROM unnest(CAST(:names AS text[]), CAST(:counts AS bigint[])) AS c (name, n)",
            hour=hour.key,
            names=list(counts),
            counts=list(counts.values()),
        )

    def _execute(self, statement: str, **values: object) -> None:
        with self.pipeline.bench.replica.engine.begin() as connection:
            connection.execute(sa.text(statement), values)


def evaluate(pipeline: Pipeline) -> None:
    """As a run that follows does every minute."""
    for check in EVALUATE:
        pipeline.instance.report_runless_asset_event(evaluation_of(check(pipeline.bench.replica), Names()))


def play(ledger: Ledger, watcher: Watcher, hours: Iterable[Hour], seen: Callable[[str, int], int]) -> Iterator[str]:
    """Hour by hour: the one before ends, twenty minutes pass, the checks are evaluated; the titles of what is told."""
    before: Hour | None = None
    for hour in hours:
        if before is not None:
            ledger.cover(before, 3600, _seen(ledger.counts(before, 1), seen))
        ledger.cover(hour, THIRD_SECONDS, _seen(ledger.counts(hour, 0), seen))
        evaluate(ledger.pipeline)
        for seconds in LOOKS_AT_SECONDS:
            watcher.now = hour.start_unix + THIRD_SECONDS + seconds
            yield from watcher.look("checks")
        before = hour


def _seen(counts: Counts, seen: Callable[[str, int], int]) -> dict[str, int]:
    return {name: seen(name, events) for name, events in counts.items()}


def test_four_weeks_without_a_word_and_then_a_type_halves(database: Database, tmp_path: Path) -> None:
    events = {name: generated(kind, 8, seed=0) for name, kind in KINDS.items()}
    hours = sorted(events[HALVED])
    with receiving() as receiver, open_pipeline(database, tmp_path / "data", "http://127.0.0.1:9") as pipeline:
        ensure_schema(pipeline.bench.replica.engine)
        ledger = Ledger(pipeline, events)
        watcher = Watcher(tmp_path, receiver)
        ledger.begin(hours[: 4 * WEEK_HOURS])
        *quiet, first, second = hours[4 * WEEK_HOURS :]
        assert list(play(ledger, watcher, quiet, lambda name, events: events)) == []
        ledger.cover(quiet[-1], 3600, ledger.counts(quiet[-1], 1))
        told = list(play(ledger, watcher, [first, second], lambda name, n: n // 2 if name == HALVED else n))
    assert told == ["fc_pipeline red: check usual_volume of hub_events"]
    assert f"{HALVED} of {first.key}" in receiver.messages[0]["message"]
