"""The hub that the live suite talks to: found, vetted and asked within its request budget.

The suite runs by `make test-live` only. Environment: FC_LIVE_HUB_URLS (comma-separated, in order of preference; else
the public hubs that are known to need no key), FC_LIVE_HUB_HEADERS and FC_LIVE_HUB_RPS (as FC_HUB_HEADERS and
FC_HUB_RPS), FC_LIVE_MINUTES (how far back the synced minutes begin, and how long the network is followed).
"""

import asyncio
import math
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, NoReturn, TypeVar, cast

import pytest

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError, HubError
from fc_pipeline.hub.client import HubClient, Timeouts
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.reads import HubReads
from fc_pipeline.hub.wire import HubInfo

T = TypeVar("T")

PUBLIC_HUBS: Final = (
    "https://hub.pinata.cloud",
    "https://snap.farcaster.xyz:3381",
    "https://crackle.farcaster.xyz:3381",
    "https://rho.farcaster.xyz:3381",
    "https://pop.farcaster.xyz:3381",
    "https://hub.merv.fun",
    "https://haatz.quilibrium.com",
)
"""hub-api 1.6: those that ask for no key."""

STALE_AFTER_SECONDS: Final = 120
"""A hub whose newest block is older stands still: nothing can be followed there."""
PROBE_TIMEOUTS: Final = Timeouts(first_byte_seconds=10.0, progress_seconds=10.0, max_seconds=10.0)
FIDS_TRIED: Final = 20
MAX_MINUTES: Final = 60
FOUND: Final = pytest.StashKey["Found"]()
FACTS: Final = pytest.StashKey[list[str]]()


@dataclass(frozen=True)
class Found:
    """What became of the hubs tried: the first that can be used, or why each of them cannot."""

    settings: Settings
    hub: tuple[str, HubInfo] | None
    refusals: list[str]


@dataclass(frozen=True)
class LiveHub:
    """One hub that answers and goes on; `reads` keeps to its request budget over the whole suite."""

    url: str
    settings: Settings = field(repr=False)
    reads: HubReads = field(repr=False)
    runner: asyncio.Runner = field(repr=False)
    info: HubInfo

    @property
    def shards(self) -> range:
        """The data shards."""
        return range(1, self.info.numShards + 1)

    @property
    def endpoint(self) -> HubEndpoint:
        """For clients of their own."""
        return endpoint_of(self.settings, self.url)

    def ask(self, question: Coroutine[Any, Any, T]) -> T:
        """The answer; all questions share one event loop, as they share the connections."""
        return self.runner.run(question)

    def items(self, pages: AsyncIterator[list[T]], most_pages: int) -> list[T]:
        """The items of a list's first pages: public hubs are not to be emptied."""

        async def read() -> list[T]:
            found: list[T] = []
            async with aclosing(cast(Any, pages)):
                for _ in range(most_pages):
                    found += await anext(pages, [])
            return found

        return self.ask(read())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip where there is no hub, by a mark: so many tests with one reason are one line of the report."""
    if "hub" not in getattr(item, "fixturenames", ()):  # asks a node of its own
        return
    found = find_hub(item.config)
    if found.hub is None:
        tried = "; ".join(found.refusals)
        reason = f"no hub of the live network can be used, {len(found.refusals)} tried: {tried}"
        item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def minutes() -> float:
    """FC_LIVE_MINUTES."""
    text = os.environ.get("FC_LIVE_MINUTES") or "10"
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= MAX_MINUTES:
        stop(f"FC_LIVE_MINUTES is {text!r} (expected: minutes above 0, up to {MAX_MINUTES})")
    return number


@pytest.fixture(scope="session")
def facts(pytestconfig: pytest.Config) -> list[str]:
    """Lines to be printed at the end: what was found is worth as much as that it passed."""
    return pytestconfig.stash.setdefault(FACTS, [])


@pytest.fixture(scope="session")
def hub(pytestconfig: pytest.Config, facts: list[str]) -> Iterator[LiveHub]:
    """The hub that was found."""
    found = find_hub(pytestconfig)
    assert found.hub is not None
    url, info = found.hub
    client = HubClient(endpoint_of(found.settings, url))
    heads = ", ".join(f"shard {s.shardId} at {s.maxHeight:,}" for s in info.shardInfos if s.shardId)
    facts.append(f"hub {client.name}, version {info.version}: {heads}")
    with asyncio.Runner() as runner:
        yield LiveHub(url, found.settings, HubReads(client), runner, info)
        runner.run(client.close())


@pytest.fixture(scope="session")
def fids(hub: LiveHub) -> list[int]:
    """FID 1 where the hub knows it, and of each shard the first FID that casts."""

    found: set[int] = set()
    for shard in hub.shards:
        known = hub.items(hub.reads.fids(shard, FIDS_TRIED), most_pages=1)
        found.update(fid for fid in known if fid == 1)
        found.update(islice((fid for fid in known if hub.items(hub.reads.casts_by_fid(fid, 1), most_pages=1)), 1))
    assert found, "no shard knows any FID that casts"
    return sorted(found)


def find_hub(config: pytest.Config) -> Found:
    """Ask the hubs once per session."""
    if FOUND not in config.stash:
        settings = live_settings()
        outcomes = asyncio.run(probe_all(settings))
        usable = [(url, outcome) for url, outcome in outcomes.items() if isinstance(outcome, HubInfo)]
        refusals = [outcome for outcome in outcomes.values() if isinstance(outcome, str)]
        config.stash[FOUND] = Found(settings, usable[0] if usable else None, refusals)
    return config.stash[FOUND]


def live_settings() -> Settings:
    """The hubs to try, with headers and request budget. Headers are for hubs that were named, never for public ones."""
    named = {name: os.environ.get(f"FC_LIVE_HUB_{name}", "") for name in ("URLS", "HEADERS", "RPS")}
    if not named["URLS"].strip():
        named |= {"URLS": ",".join(PUBLIC_HUBS), "HEADERS": ""}
    try:
        return Settings.load({f"FC_HUB_{name}": value for name, value in named.items()}, dotenv=None)
    except ConfigError as error:
        stop(str(error).replace("FC_HUB_", "FC_LIVE_HUB_"))


def stop(reason: str) -> NoReturn:
    pytest.exit(reason, returncode=pytest.ExitCode.USAGE_ERROR)


def endpoint_of(settings: Settings, url: str) -> HubEndpoint:
    return HubEndpoint(url, settings.hub_headers_for(url), settings.hub_rps_for(url))


async def probe_all(settings: Settings) -> dict[str, HubInfo | str]:
    """What each hub says of itself, or why it cannot be used; one request to each, all at once."""
    outcomes = await asyncio.gather(*(probe(endpoint_of(settings, url)) for url in settings.hub_urls))
    return dict(zip(settings.hub_urls, outcomes, strict=True))


async def probe(endpoint: HubEndpoint) -> HubInfo | str:
    async with HubClient(endpoint, retries=0, timeouts=PROBE_TIMEOUTS) as client:
        try:
            info = await HubReads(client).info()
        except HubError as error:
            return error.message
    delays = {shard.shardId: shard.blockDelay for shard in info.shardInfos}
    if not delays or any(shard not in delays for shard in range(1, info.numShards + 1)):
        return f"hub {endpoint.name} (version {info.version}) is no Snapchain hub with all its shards"
    delay_seconds = max((delay for shard, delay in delays.items() if shard), default=0)
    if delay_seconds > STALE_AFTER_SECONDS:
        return f"hub {endpoint.name} stands still: its newest block is {delay_seconds} s old"
    return info


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(FACTS, []):
        terminalreporter.section("live network")
        for line in lines:
            terminalreporter.write_line(line)
