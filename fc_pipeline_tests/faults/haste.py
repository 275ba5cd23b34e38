"""Time for the client runs many times faster: an hour of waiting for a hub takes a test seconds."""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial

import pytest

from fc_pipeline.backfill import run as backfill
from fc_pipeline.feed import run
from fc_pipeline.hub.client import Timeouts
from fc_pipeline.hub.failover import HubPool
from fc_pipeline_tests.support import workbench

TIMEOUTS = Timeouts(first_byte_seconds=0.4, progress_seconds=0.4, max_seconds=1.0)
"""Of real seconds: what a socket takes does not go faster."""


@contextmanager
def haste(faster: float = 100.0) -> Generator[None]:
    """For every pool of hubs that the pipeline opens meanwhile, a second is so many.

    So for its back-off, its cool-down, what Retry-After asks for, and how often a hub is vetted.
    """

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / faster)

    hasty = partial(HubPool, sleep=sleep, clock=lambda: time.monotonic() * faster, timeouts=TIMEOUTS)
    with pytest.MonkeyPatch.context() as patch:
        for module in (run, workbench, backfill):
            patch.setattr(module, "HubPool", hasty)
        yield
