"""Micro-batches on a stock Postgres as Debian installs it (JIT on, its own memory) beside those on the embedded one."""

import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from fc_pipeline.fold.micro_batch import MicroBatch
from fc_pipeline.fold.session import FoldSession
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline.store.session import make_engine
from fc_pipeline_tests.benchmarks.large_tables import batches
from fc_pipeline_tests.benchmarks.stage import open_stage
from fc_pipeline_tests.support.stock_server import INSTALLED, stock_server

__all__ = ["fold_on_stock_server"]

SIZES = {10: 100, 1_000: 30, 10_000: 8}
"""Events of a micro-batch, and how many of them are timed."""


def fold_on_stock_server(folder: Path, log: EventLog) -> dict[str, Any]:
    """Fold one log on both servers, taking turns, so that what else the machine does slows both alike.

    Gives for each size the median milliseconds of a micro-batch, commit included, and what part of the embedded
    server's speed the stock one has. Of each size the first few are not timed: plans are made and files grow.
    """
    if not INSTALLED:
        return {"skipped": "Debian's package postgresql is not installed"}
    figures: dict[str, Any] = {"stock_version": int(INSTALLED[-1].parent.name)}
    with (
        open_stage(folder) as stage,
        stock_server(INSTALLED[-1], {}) as stock,
        _session(stage.settings().libpq_url()) as on_embedded,
        _session(stock.url()) as on_stock,
    ):
        first = 0
        for size, number in SIZES.items():
            warm_up = 1 + number // 10
            timed: dict[str, list[float]] = {"embedded": [], "stock": []}
            turns = [("embedded", on_embedded), ("stock", on_stock)]
            last = first + size * (number + warm_up)
            for batch in islice(batches(log, first, last, size), number + warm_up):
                for name, session in turns:
                    timed[name].append(_milliseconds(session, batch))
                turns.reverse()
            first = last
            medians = {name: statistics.median(found[warm_up:]) for name, found in timed.items()}
            figures |= {f"{name}_ms_of_{size}": median for name, median in medians.items()}
            figures[f"stock_of_embedded_{size}"] = medians["embedded"] / medians["stock"]
    return figures


@contextmanager
def _session(url: str) -> Generator[FoldSession]:
    engine = make_engine(url)
    ensure_schema(engine)
    engine.dispose()
    with FoldSession(url, "bench") as session:
        yield session


def _milliseconds(session: FoldSession, batch: MicroBatch) -> float:
    started = time.perf_counter()
    session.fold(batch)
    return (time.perf_counter() - started) * 1000
