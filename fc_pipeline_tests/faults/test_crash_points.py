"""Runs that are killed, or asked to end, at named points and at random ones: what is left is what was to be written."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.faults.crash_points import BACKFILL_POINTS, RUN_POINTS
from fc_pipeline_tests.faults.crash_runner import Runner
from fc_pipeline_tests.support.crash_scene import BATCH_EVENTS, Scene, covered_blocks, lines_of, open_scene
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import workbench

SEED = int(os.environ.get("FC_FAULT_SEED", "20261124"))
SEEDS = 100
"""Of the full matrix: each a log of its own choice, with several signals at points of its own choice."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SECONDS_TO_REACH = 60.0


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(41, 1_200)) as opened:
        yield opened


def ended_by(code: int, number: signal.Signals) -> bool:
    """SIGKILL ends a run where it stands; the others ask it to end, which it does by itself."""
    return code == -signal.SIGKILL if number == signal.SIGKILL else code == 0


@pytest.mark.slow
def test_a_run_ended_at_every_named_point(scene: Scene, database: Database, tmp_path: Path) -> None:
    """One run after the other gets a little further, each ended at another point; the last one ends the work."""
    seeded = random.Random(SEED)
    print(f"FC_FAULT_SEED={SEED}")
    reached: dict[str, int] = {}
    with (
        workbench(database, tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as bench,
        Runner(bench, scene.hours) as runner,
    ):
        for point in RUN_POINTS:
            # A session's own preparations commit once.
            nth = seeded.randrange(2, 4)
            assert runner.run(point, point=point, nth=nth, signal=signal.SIGKILL) == -signal.SIGKILL, point
            reached[point] = covered_blocks(bench)
        print(f"blocks covered after each: {reached}")
        assert reached["after_commit"] < scene.blocks  # what is reported may be all
        assert runner.run("last") == 0
        scene.check(bench)


@pytest.mark.faults
def test_a_run_asked_to_end_in_the_middle_of_a_copy(scene: Scene, database: Database, tmp_path: Path) -> None:
    with (
        workbench(database, tmp_path / "lake", scene.url, batch_events=BATCH_EVENTS) as bench,
        Runner(bench, scene.hours) as runner,
    ):
        assert runner.run("asked", point="mid_copy", nth=9, signal=signal.SIGTERM) == 0
        assert 0 < covered_blocks(bench) < scene.blocks
        assert bench.rows("SELECT * FROM pipeline.leases") == []
        assert runner.run("last") == 0
        scene.check(bench)


@pytest.mark.slow
def test_a_backfill_killed_at_every_named_point(scene: Scene, database: Database, tmp_path: Path) -> None:
    seeded = random.Random(SEED)
    with workbench(database, tmp_path / "lake", scene.url) as bench, Runner(bench, scene.hours) as runner:
        for point in BACKFILL_POINTS:
            nth = seeded.randrange(1, 3) + (point == "before_commit")
            assert runner.run(point, "backfill", point=point, nth=nth, signal=signal.SIGKILL) == -signal.SIGKILL, point
        assert runner.run("last", "backfill") == 0
        scene.check_snapshots(bench)


@pytest.fixture(scope="module")
def scenes(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Scene]]:
    """Logs of several shapes for the full matrix."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield [
            stack.enter_context(open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(50 + n, 800 + 200 * n)))
            for n in range(4)
        ]


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(SEEDS))
def test_signals_at_seeded_points(scenes: list[Scene], database: Database, tmp_path: Path, seed: int) -> None:
    seeded = random.Random(SEED * 1000 + seed)
    scene = seeded.choice(scenes)
    options = {"batch_events": seeded.choice((20, 60, 300))}
    said: list[str] = []
    with (
        workbench(database, tmp_path / "lake", scene.url, **options) as bench,
        Runner(bench, scene.hours) as runner,
    ):
        for round_number in range(seeded.randrange(1, 5)):
            number = seeded.choice(SIGNALS)
            if seeded.random() < 0.5:
                point, nth = seeded.choice(RUN_POINTS), seeded.randrange(1, 8)
                code = runner.run(f"run {round_number}", point=point, nth=nth, signal=number)
                said.append(f"{number.name} at {point} {nth}: {code}")
                assert code == 0 or ended_by(code, number)  # it may have had nothing left to come to that point
            else:
                goal, pause = seeded.randrange(scene.blocks), seeded.uniform(0.0, 0.3)
                pid = runner.start(f"run {round_number}")
                _until_covered(bench, goal)
                time.sleep(pause)
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    said.append(f"done before {number.name} after {goal}")
                code = runner.wait()
                said.append(f"{number.name} after {goal} blocks: {code}")
                assert code == 0 or ended_by(code, number)
        print(f"FC_FAULT_SEED={SEED} seed {seed}: {'; '.join(said)}")
        assert runner.run("last") == 0
        scene.check(bench)


def _until_covered(bench: object, goal: int) -> None:
    deadline = time.monotonic() + 3.0  # a run that has nothing left to do comes no further
    while covered_blocks(bench) < goal and time.monotonic() < deadline:  # pyright: ignore[reportArgumentType]
        time.sleep(0.002)
