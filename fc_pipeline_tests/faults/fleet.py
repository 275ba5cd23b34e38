"""One hub that is two nodes: the same chain, the one some seconds behind the other, behind a balancer."""

import asyncio
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Literal
from weakref import WeakKeyDictionary

from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.fault_proxy import FaultProxy
from fc_pipeline_tests.support.networks import generated_network, log_of

__all__ = ["Balancer", "Fleet", "fleet"]

Per = Literal["request", "connection"]


@dataclass
class Late:
    """A growing chain as a node shows it that is behind; frozen, it makes no block any more."""

    chain: Endless
    behind_seconds: float
    frozen_at: float | None = None

    def advance(self, log: EventLog, now_unix: float) -> None:
        now_unix = now_unix if self.frozen_at is None else min(now_unix, self.frozen_at)
        self.chain.advance(log, now_unix - self.behind_seconds)


@dataclass
class Balancer(FaultProxy):
    """Hands each request, or each connection, to the next of `nodes`."""

    nodes: tuple[str, ...] = ()
    per: Per = "request"
    _turn: "count[int]" = field(default_factory=count)
    _of_connection: "WeakKeyDictionary[asyncio.StreamWriter, str]" = field(default_factory=WeakKeyDictionary)

    def upstream_of(self, connection: asyncio.StreamWriter) -> str:
        if self.per == "connection" and connection in self._of_connection:
            return self._of_connection[connection]
        node = self.nodes[next(self._turn) % len(self.nodes)]
        self._of_connection[connection] = node
        return node


@dataclass
class Fleet:
    """The balancer, and the two nodes by themselves."""

    balancer: Balancer
    ahead: str
    behind: str
    chains: tuple[Late, Late]

    def hurry_ahead(self) -> None:
        """A quarter of a minute passes for the node that is ahead: what was read is no head, and not known to both."""
        self.chains[0].behind_seconds -= 15.0

    def freeze(self, *, level: bool) -> None:
        """No more blocks; `level`, and the node behind has caught up."""
        now = time.time()
        for chain in self.chains:
            chain.frozen_at = now
        if level:
            self.chains[1].behind_seconds = self.chains[0].behind_seconds


@contextmanager
def fleet(per: Per, *, seed: int = 1, apart_seconds: float = 30.0, history_seconds: float = 60.0) -> Generator[Fleet]:
    """Two nodes that have made a block a second for `history_seconds`, and go on."""
    start_unix = time.time() - history_seconds - apart_seconds
    lines = generated_network(seed, events=600, fids=30, start_unix=int(start_unix) - 25)
    with ExitStack() as stack:
        chains: list[Late] = []
        urls: list[str] = []
        for behind_seconds in (0.0, apart_seconds):
            log = log_of(lines)
            chain = Late(Endless(log, events_per_second=20.0, start_unix=start_unix, seed=seed), behind_seconds)
            chains.append(chain)
            urls.append(stack.enter_context(serving(log, growth=chain)))
        balancer = stack.enter_context(Balancer(urls[0], seed, nodes=tuple(urls), per=per))
        yield Fleet(balancer, urls[0], urls[1], (chains[0], chains[1]))
