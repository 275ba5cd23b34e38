"""How fast one process asks for users' records: our client, and the HTTP clients alone, of a hub that is no limit."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import aiohttp
import httpx

from fc_pipeline.backfill.fid_records import snapshot
from fc_pipeline.hub.client import HubClient
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads
from fc_pipeline_tests.benchmarks.backfill import backfill_of
from fc_pipeline_tests.benchmarks.stage import open_stage

T = TypeVar("T")
CONNECTIONS = 8
HTTPX_SHARE = 10
"""It is given a tenth of the requests: so much slower it is."""


@contextmanager
def memory_hub(log_path: Path, delay_seconds: float = 0.0) -> Generator[str]:
    """A hub in a process of its own (`memory_hub`), each of whose answers takes so long; gives its address."""
    command = [sys.executable, "-m", "fc_pipeline_tests.benchmarks.memory_hub", str(log_path), str(delay_seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def read_by_fid(folder: Path, log_path: Path) -> dict[str, dict[str, float]]:
    """Reads alone, then `backfill --all` with all that it writes and compares: from the same hub, one after another."""
    with memory_hub(log_path) as hub_url:
        done = subprocess.run(
            [sys.executable, "-m", "fc_pipeline_tests.benchmarks.by_fid", hub_url],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"by_fid failed:\n{done.stderr}")
        figures: dict[str, dict[str, float]] = {"by_fid_reads": json.loads(done.stdout)}
        with open_stage(folder) as stage:
            figures["by_fid_backfill"] = backfill_of(stage, hub_url)
    return figures


async def _measured(hub_url: str) -> dict[str, float]:
    async with HubClient(HubEndpoint(hub_url)) as client:
        hub = HubReads(client)
        fids = sorted({fid for shard in (1, 2) async for page in hub.fids(shard) for fid in page})
        await _concurrently(fids, lambda fid: _read(hub, fid))  # the hub has every answer in memory then
        asked_before = client.requests
        seconds, cpu_seconds = await _timed(_concurrently(fids, lambda fid: _read(hub, fid)))
        requests = client.requests - asked_before
        figures: dict[str, float] = {
            "fids": len(fids),
            "requests": requests,
            "requests_per_second": requests / seconds,
            "cpu_ms_per_request": 1_000 * cpu_seconds / requests,
        }
    targets = [f"{hub_url}/v1/castsByFid?fid={fid}&pageSize=1000" for fid in fids]
    figures |= _named("aiohttp_alone", len(targets), *await _aiohttp_alone(targets))
    few = targets[: max(1, len(targets) // HTTPX_SHARE)]
    figures |= _named("httpx_alone", len(few), *await _httpx_alone(few))
    figures["of_httpx_alone"] = figures["requests_per_second"] / figures["httpx_alone_requests_per_second"]
    return figures


async def _read(hub: HubReads, fid: int) -> None:
    async for _ in snapshot(hub, fid):
        pass


async def _aiohttp_alone(targets: Sequence[str]) -> tuple[float, float]:
    async with aiohttp.ClientSession() as session:

        async def get(target: str) -> None:
            async with session.get(target) as answer:
                await answer.read()

        await _concurrently(targets[:CONNECTIONS], get)
        return await _timed(_concurrently(targets, get))


async def _httpx_alone(targets: Sequence[str]) -> tuple[float, float]:
    async with httpx.AsyncClient(trust_env=False) as session:

        async def get(target: str) -> None:
            await session.get(target)

        await _concurrently(targets[:CONNECTIONS], get)
        return await _timed(_concurrently(targets, get))


async def _concurrently(items: Sequence[T], work: Callable[[T], Awaitable[None]]) -> None:
    waiting = iter(items)

    async def worker(those: Iterator[T]) -> None:
        for one in those:
            await work(one)

    await asyncio.gather(*(worker(waiting) for _ in range(CONNECTIONS)))


async def _timed(work: Awaitable[None]) -> tuple[float, float]:
    """Seconds, and seconds of this process' CPU."""
    started, cpu = time.perf_counter(), time.process_time()
    await work
    return time.perf_counter() - started, time.process_time() - cpu


def _named(name: str, requests: int, seconds: float, cpu_seconds: float) -> dict[str, float]:
    return {
        f"{name}_requests_per_second": requests / seconds,
        f"{name}_cpu_ms_per_request": 1_000 * cpu_seconds / requests,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_measured(sys.argv[1]))) + "\n")
