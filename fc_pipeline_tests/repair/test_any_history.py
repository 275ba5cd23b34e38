"""However a replica came to its rows, they are what the log says; and of rows that somebody touched, each is found."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.feed.progress import Progress
from fc_pipeline.feed.rebuild import rebuild_hour
from fc_pipeline.feed.writer import BatchWriter
from fc_pipeline.fold.micro_batch import prepare
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.hours import Hour
from fc_pipeline.hub.event_batch import EventBatch
from fc_pipeline.reconcile.log_comparison import compare_with_log, repair_hour
from fc_pipeline.repair.quarantine import Replay, quarantine_lines
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.store import ledger
from fc_pipeline.store.ledger import ShardOrigin
from fc_pipeline.tables.columns import Column, ColumnType
from fc_pipeline.tables.registry import DATA_TABLES
from fc_pipeline_tests.support.damage import INVENTED
from fc_pipeline_tests.support.events import HOUR_UNIX, Blocks, event_batch
from fc_pipeline_tests.support.forgetting import forget_messages, forget_values
from fc_pipeline_tests.support.postgres import fresh_database
from fc_pipeline_tests.support.workbench import Workbench, workbench

pytestmark = pytest.mark.slow

FIDS = 25
HOURS = 3
FORGETS = (None, None, None, forget_values, forget_messages)


def generated(seed: int) -> tuple[list[bytes], dict[int, Blocks]]:
    """A log of two shards: removes, prunes, revocations and compact states hit what came hours before."""
    lines = list(generate(seed, fids=FIDS, events=900, events_per_second=15.0, start_unix=HOUR_UNIX))
    blocks: dict[int, defaultdict[int, list[bytes]]] = {1: defaultdict(list), 2: defaultdict(list)}
    for shard, log in log_from_lines(lines).shards.items():
        for event_id, raw in zip(log.event_ids, log.raws, strict=True):
            blocks[shard][event_id >> 14].append(raw)
    return lines, {shard: dict(of_shard) for shard, of_shard in blocks.items()}


@dataclass
class RandomHistory:
    """A replica, and what of a log it has folded. The hours are thirds of it; shard 2 is an hour behind shard 1."""

    bench: Workbench
    session: FoldSession
    blocks: dict[int, Blocks]
    rng: Random
    folded: list[tuple[Hour, EventBatch]] = field(default_factory=list[tuple[Hour, EventBatch]])
    unfolded: list[tuple[Hour, EventBatch]] = field(default_factory=list[tuple[Hour, EventBatch]])

    def __post_init__(self) -> None:
        for shard, blocks in self.blocks.items():
            heights = sorted(blocks)
            origin = ShardOrigin(shard, heights[0], datetime.fromtimestamp(HOUR_UNIX, UTC), len(self.blocks))
            with self.bench.replica.engine.begin() as connection:
                ledger.record_origin(connection, origin)
            third = len(heights) // HOURS + 1
            for number in range(HOURS):
                hour = Hour(HOUR_UNIX + 3600 * (number + shard - 1))
                left = heights[number * third : (number + 1) * third]
                while left:
                    length = self.rng.randint(1, len(left))
                    self.unfolded.append((hour, event_batch(blocks, left[0], left[length - 1], shard)))
                    left = left[length:]
        self.rng.shuffle(self.unfolded)

    def fold(self) -> None:
        """New heights, maybe by a release that does not understand all of them."""
        if not self.unfolded:
            return
        hour, batch = self.unfolded.pop()
        self.bench.replica.log.write(batch, hour)
        forget = self.rng.choice(FORGETS)
        with pytest.MonkeyPatch.context() if forget else nullcontext() as patch:
            if forget and patch:
                forget(patch)
            self.session.fold(
                prepare(batch, partition=hour.key, hour_unix=hour.start_unix, tables=tuple(DATA_TABLES), shard_count=2)
            )
        self.folded.append((hour, batch))

    def rebuild(self) -> None:
        if self.folded:
            hour = self.rng.choice(self.folded)[0]
            tables = set(self.rng.sample(sorted(DATA_TABLES), self.rng.randint(1, len(DATA_TABLES))))
            with BatchWriter(self.bench.replica, "rebuild", tables, Progress()) as writer:
                rebuild_hour(self.bench.replica, writer, hour, tables)

    def mend(self) -> None:
        """What materialising does besides: an undamaged hour has nothing to be mended."""
        if self.folded:
            assert repair_hour(self.bench.replica, self.rng.choice(self.folded)[0], tuple(DATA_TABLES)) == {}

    def snapshot(self) -> None:
        """What the hub says at its head, which may be long after what is folded."""
        fids = self.rng.sample(range(1, FIDS + 1), 5)
        Backfill(self.bench.replica, "snapshot", BackfillScope.of_fids(fids)).execute()

    def replay(self) -> None:
        names = [line.name for line in quarantine_lines(self.bench.replica)]
        chosen = self.rng.sample(names, self.rng.randint(0, len(names)))
        if chosen:
            Replay(self.bench.replica, "replay", names=chosen).execute()

    def compact(self) -> None:
        if self.folded:
            hour, batch = self.rng.choice(self.folded)
            self.bench.replica.log.compact(hour, batch.shard)

    def differences(self) -> dict[str, object]:
        """Of some of the newest hours, or of all."""
        max_events = self.rng.choice((1, 400, 100_000))
        found = compare_with_log(self.bench.replica, tuple(DATA_TABLES), max_events=max_events)
        assert not found.unread
        return {name: table.differences for name, table in found.tables.items() if table.wrong}


STEPS = (*["fold"] * 6, "rebuild", "mend", "snapshot", "replay", "compact")


@dataclass(frozen=True)
class Scene:
    """A replica to be emptied, and the log that its hub serves."""

    bench: Workbench
    blocks: dict[int, Blocks]
    lake: Path

    def empty(self) -> None:
        self.bench.tables.empty()
        shutil.rmtree(self.lake / "hub_events", ignore_errors=True)


@pytest.fixture(scope="module", params=[1, 2])
def scene(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    lines, blocks = generated(request.param)
    lake = tmp_path_factory.mktemp("replica") / "lake"
    with (
        serving(log_from_lines(lines)) as url,
        fresh_database(postgres) as database,
        workbench(database, lake, url) as bench,
    ):
        yield Scene(bench, blocks, lake)


# Shrinking would play whole histories again for minutes.
@settings(
    max_examples=8, phases=[Phase.generate], deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(steps=st.lists(st.sampled_from(STEPS), min_size=4, max_size=14), rng=st.randoms(use_true_random=False))
def test_no_history_of_an_undamaged_replica_is_called_damage(scene: Scene, steps: list[str], rng: Random) -> None:
    scene.empty()
    with FoldSession(scene.bench.replica.settings.libpq_url(), "course") as session:
        course = RandomHistory(scene.bench, session, scene.blocks, rng)
        for step in steps:
            getattr(course, step)()
        assert course.differences() == {}
        while course.unfolded:
            course.fold()
        assert course.differences() == {}
        Replay(scene.bench.replica, "replay").execute()
        assert course.differences() == {}


@pytest.fixture(scope="module")
def whole(scene: Scene) -> Workbench:
    """All of the log, folded once."""
    scene.empty()
    with FoldSession(scene.bench.replica.settings.libpq_url(), "whole") as session:
        course = RandomHistory(scene.bench, session, scene.blocks, Random(1))
        course.rng.choice = lambda of: of[0]  # pyright: ignore[reportAttributeAccessIssue]
        while course.unfolded:
            course.fold()
    return scene.bench


OTHERWISE = {
    ColumnType.TEXT: "coalesce({c}, '') || 'x'",
    ColumnType.BIGINT: "coalesce({c}, 0) + 1",
    ColumnType.INTEGER: "coalesce({c}, 0) + 1",
    ColumnType.BYTEA: "coalesce({c}, '') || '\\x00'",
    ColumnType.TIMESTAMP: "coalesce({c}, to_timestamp(0)) + interval '1 second'",
    ColumnType.JSONB: "jsonb_build_array({c})",
    ColumnType.BIGINTS: "coalesce({c}, '{{}}') || 1",
    ColumnType.INTEGERS: "coalesce({c}, '{{}}') || 1",
    ColumnType.TEXTS: "coalesce({c}, '{{}}') || 'x'",
    ColumnType.BOOLEAN: "NOT coalesce({c}, true)",
}


def changed(column: Column) -> str:
    return f"{column.name} = {OTHERWISE[column.type].format(c=column.name)}"


@settings(
    max_examples=40, phases=[Phase.generate], deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
@pytest.mark.parametrize("scene", [1], indirect=True)
def test_a_single_row_that_was_deleted_changed_or_invented_is_found_and_nothing_else(
    whole: Workbench, data: st.DataObject
) -> None:
    rows = {name: whole.rows(f"SELECT count(*) FROM {name}")[0][0] for name in sorted(DATA_TABLES)}
    name = data.draw(st.sampled_from([name for name, count in rows.items() if count]))
    kind = data.draw(st.sampled_from(("missing", "changed", "invented")))
    table = DATA_TABLES[name]
    key = ", ".join(table.key)
    place = data.draw(st.integers(0, 9_999)) % rows[name]
    one = f"({key}) IN (SELECT {key} FROM {name} ORDER BY {key} OFFSET {place} LIMIT 1)"
    if kind == "missing":
        statement = f"DELETE FROM {name} WHERE {one}"
    elif kind == "changed":
        column = data.draw(st.sampled_from([c for c in table.columns if c.name not in table.key]))
        statement = f"UPDATE {name} SET {changed(column)} WHERE {one}"
    else:
        column_name, value = INVENTED[name]
        values = ", ".join(value if column == column_name else column for column in table.names)
        statement = f"INSERT INTO {name} ({', '.join(table.names)}) SELECT {values} FROM {name} WHERE {one}"
    note(statement)
    before = whole.dump()
    with whole.replica.engine.begin() as connection:
        assert connection.execute(sa.text(statement.replace(":", "\\:"))).rowcount == 1
    try:
        found = compare_with_log(whole.replica, (name,)).tables[name]
        (one_hour,) = found.differences
        counts = {"missing": one_hour.missing, "changed": one_hour.changed, "invented": one_hour.invented}
        assert counts == {"missing": 0, "changed": 0, "invented": 0, kind: 1}, statement
        assert one_hour.hour is not None
    finally:
        for hour in whole.replica.log.hours():
            repair_hour(whole.replica, hour, (name,))
    assert whole.dump() == before
