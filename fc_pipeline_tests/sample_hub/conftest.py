from collections.abc import Iterator

import httpx
import pytest

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog, log_from_lines
from fc_pipeline.sample_hub.serving import serving


@pytest.fixture(scope="session")
def lines() -> list[bytes]:
    return list(generate(10, fids=80, events=12_000, events_per_second=40.0, huge_fids=True, unknown_types=True))


@pytest.fixture(scope="session")
def log(lines: list[bytes]) -> EventLog:
    return log_from_lines(lines)


@pytest.fixture(scope="session")
def hub(log: EventLog) -> Iterator[httpx.Client]:
    """A sound hub over the generated log; tests must not change the log."""
    with serving(log) as base_url, httpx.Client(base_url=base_url) as client:
        yield client
