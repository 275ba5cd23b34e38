import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fc_pipeline.feed import run
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline_tests.support import workbench
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.postgres import Database, fresh_database

MINUTES_BEFORE_THE_HOUR = 1


@pytest.fixture(scope="session")
def lines() -> list[bytes]:
    """A generated log of two shards: two minutes of blocks, of which the hour's end is the middle."""
    start_unix = HOUR_UNIX + 3600 - 60 * MINUTES_BEFORE_THE_HOUR
    return list(
        generate(
            7, fids=60, events=3_600, events_per_second=30.0, start_unix=start_unix, huge_fids=True, unknown_types=True
        )
    )


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs retry a hub that fails without pausing in between."""

    async def no_pause(seconds: float) -> None:
        await asyncio.sleep(0)

    for module in (run, workbench):
        monkeypatch.setattr(module, "HubPool", partial(HubPool, sleep=no_pause))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def other_database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A second empty database, to compare with."""
    with fresh_database(postgres) as database:
        yield database
