"""Redis emptied, killed, absent, slow: it holds what is shared for comfort, so the pipeline goes on, and says so."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import redis

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.hub import shared_budget
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline_tests.faults.test_postgres_faults import at_work, run_of, until_covered
from fc_pipeline_tests.support.crash_scene import Scene, covered_blocks, lines_of, open_scene
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.postgres_link import Link
from fc_pipeline_tests.support.workbench import workbench

RPS = 200.0
SEED = int(os.environ.get("FC_FAULT_SEED", "20261124"))


@pytest.fixture(scope="module")
def scene(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with open_scene(postgres, tmp_path_factory.mktemp("scene"), lines_of(41, 1_200)) as opened:
        yield opened


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "redis")
    server.acquire()
    yield server
    if server.running_pid() is None:
        server.acquire()
    server.release()


def said(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith(what)]


@pytest.mark.faults
def test_flushed_again_and_again(
    scene: Scene, database: Database, tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    seeded = random.Random(SEED)
    options = {"redis_url": redis_url, "hub_rps": RPS, "batch_events": 20}
    with (
        redis.Redis.from_url(redis_url) as client,
        workbench(database, tmp_path / "lake", scene.url, **options) as bench,
    ):
        with at_work(run_of(bench, scene)) as working:
            while not working.done():
                client.flushall()
                time.sleep(seeded.uniform(0.0, 0.05))
        scene.check(bench)
    assert said(caplog, "budget_not_shared") == []


@pytest.mark.slow
def test_killed_and_back(
    scene: Scene,
    database: Database,
    tmp_path: Path,
    own_redis: EmbeddedRedis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_budget, "REDIS_COOL_DOWN_SECONDS", 0.2)
    options = {"redis_url": own_redis.url(), "hub_rps": 40.0, "batch_events": 20}
    with workbench(database, tmp_path / "lake", scene.url, **options) as bench:
        with at_work(run_of(bench, scene)) as working:
            until_covered(bench, 3, working)
            pid = own_redis.running_pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until_covered(bench, scene.blocks // 2, working)
            assert not working.done()
            own_redis.acquire()
        scene.check(bench)
    assert len(said(caplog, "budget_not_shared")) == 1
    assert len(said(caplog, "budget_shared_again")) == 1


def test_absent_is_said_once_however_many_pools_ask(
    scene: Scene, database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"redis_url": f"unix://{tmp_path}/nobody.sock", "hub_rps": RPS}
    with workbench(database, tmp_path / "lake", scene.url, **options) as bench:
        for _ in range(3):
            bench.survey()  # as each tick of a sensor does
        bench.run("run", HourWindow(*scene.hours))
        scene.check(bench)
    assert len(said(caplog, "budget_not_shared")) == 1


@pytest.mark.faults
def test_slow_and_cut(
    scene: Scene,
    database: Database,
    tmp_path: Path,
    own_redis: EmbeddedRedis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slower than is waited for: the run keeps its own budget after one wait, not after one per request."""
    monkeypatch.setattr(shared_budget, "REDIS_TIMEOUT_SECONDS", 0.3)
    parts = urlsplit(own_redis.url())
    socket = unquote(parts.netloc.rpartition("@")[2]) or parts.path
    with Link(socket, delay_seconds=1.0) as link:
        options = {"redis_url": f"redis://:{parts.password}@127.0.0.1:{link.port}/0", "hub_rps": RPS}
        with workbench(database, tmp_path / "lake", scene.url, **options) as bench:
            bench.run("run", HourWindow(*scene.hours))
            scene.check(bench)
            assert covered_blocks(bench) == scene.blocks
    assert len(said(caplog, "budget_not_shared")) == 1
