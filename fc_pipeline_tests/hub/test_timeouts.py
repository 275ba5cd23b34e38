"""A hub that hangs, trickles or stops within a page fails in seconds; one that is slow and goes on does not."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fc_pipeline.errors import HubUnavailable
from fc_pipeline.hub.client import HubClient, Timeouts
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.failover import HubPool
from fc_pipeline_tests.support.acted_hub import ActedHub, blocks

Act = Callable[[int, asyncio.StreamWriter], Awaitable[None]]
"""What the hub does about its n-th request."""

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
IMPATIENT = Timeouts(first_byte_seconds=0.5, progress_seconds=0.5, max_seconds=2.0)


@asynccontextmanager
async def hub_that(act: Act) -> AsyncGenerator[str]:
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                asked += 1
                await act(asked, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


async def hang(number: int, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def trickle_body(number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"content-length: 100000\r\n\r\n")
    for _ in range(10_000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def trickle_head(number: int, writer: asyncio.StreamWriter) -> None:
    for byte in HEAD * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)


async def stop_within(number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"content-length: 200000\r\n\r\n" + b"{" + b" " * 100_000)
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (hang, "timed out: no answer within 0.5 s"),
        (trickle_head, "timed out: no answer within 0.5 s"),
        (trickle_body, r"timed out: \d+ bytes within 0.5 s"),
        (stop_within, r"timed out: \d+ bytes within 0.5 s, 100001 of the answer in all"),
    ],
)
def test_what_makes_no_progress_fails(act: Act, says: str) -> None:
    async def main() -> None:
        async with hub_that(act) as url, HubClient(HubEndpoint(url), retries=0, timeouts=IMPATIENT) as client:
            with pytest.raises(HubUnavailable, match=says):
                await client.get("/v1/info")

    asyncio.run(main())


def test_a_large_page_over_a_slow_line_is_read_however_long_it_takes() -> None:
    body = json.dumps({"events": ["x" * 200_000]}).encode()

    async def slowly(number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 8_000):
            writer.write(body[start : start + 8_000])
            await writer.drain()
            await asyncio.sleep(0.05)

    async def main() -> float:
        # Whatever is allowed for one step, all of it together takes longer.
        timeouts = Timeouts(first_byte_seconds=0.6, progress_seconds=0.6, max_seconds=0.6)
        async with hub_that(slowly) as url, HubClient(HubEndpoint(url), retries=0, timeouts=timeouts) as client:
            started = time.monotonic()
            assert await client.get("/v1/events") == body
            return time.monotonic() - started

    assert asyncio.run(main()) > 0.6


def test_the_only_hub_is_given_longer_with_each_attempt() -> None:
    """Slow is not hanging: what takes four times as long as the first attempt allows is read in the end."""

    async def late(number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.3)
        writer.write(HEAD + b"content-length: 2\r\n\r\n{}")

    async def main() -> int:
        timeouts = Timeouts(first_byte_seconds=0.1, progress_seconds=0.1, max_seconds=30.0)
        async with hub_that(late) as url, HubClient(HubEndpoint(url), retries=8, timeouts=timeouts) as client:
            await client.get("/v1/info")
            first = client.requests
            await client.get("/v1/info")
            return client.requests - first if first > 1 else 0

    # It is known by then how long it takes.
    assert asyncio.run(main()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("act", [hang, trickle_head, trickle_body, stop_within])
def test_where_one_hub_hangs_the_next_is_asked_at_once(act: Act) -> None:
    """One attempt and no more, be it of many questions at a time; then it rests, longer each time."""

    async def main() -> None:
        asked = 0
        now = 1_000.0

        async def counted(number: int, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            await act(number, writer)

        async with hub_that(counted) as url, ActedHub({1: blocks(1, 20), 2: blocks(1, 20, shard=2)}) as sound:
            endpoints = [HubEndpoint(url), HubEndpoint(sound.url)]
            async with HubPool(endpoints, timeouts=IMPATIENT, clock=lambda: now) as pool:
                pages = await asyncio.gather(*(pool.events(shard, 0) for shard in (1, 2, 1, 2)))
                assert [len(page) for page in pages] == [60] * 4
                assert asked == 1
                for wait_seconds, attempts in ((59.0, 1), (2.0, 2), (119.0, 2), (2.0, 3)):
                    now += wait_seconds
                    await pool.events(1, 0)
                    assert asked == attempts

    asyncio.run(main())


def test_a_hub_that_is_well_again_is_preferred_again() -> None:
    async def main() -> None:
        now = 1_000.0
        is_well = False

        async with ActedHub({1: blocks(1, 20)}) as first, ActedHub({1: blocks(1, 20)}) as second:

            async def now_and_then(number: int, writer: asyncio.StreamWriter) -> None:
                if not is_well:
                    await asyncio.sleep(60)
                answer = first.info()
                writer.write(HEAD + b"content-length: %d\r\n\r\n" % len(answer.body) + answer.body)

            async with hub_that(now_and_then) as url:
                endpoints = [HubEndpoint(url), HubEndpoint(second.url)]
                async with HubPool(endpoints, timeouts=IMPATIENT, clock=lambda: now) as pool:
                    assert (await pool.follow(1)).name == second.url
                    is_well = True
                    now += 61.0
                    assert (await pool.follow(1)).name == url

    asyncio.run(main())
