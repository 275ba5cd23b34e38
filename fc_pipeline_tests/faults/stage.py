"""One scenario on its stage: a hub, the proxy before it, a replica, and what must come of it all."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import HubError
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.faults import results
from fc_pipeline_tests.faults.accounts import Accounts
from fc_pipeline_tests.faults.oracle import Oracle
from fc_pipeline_tests.faults.results import Result
from fc_pipeline_tests.faults.verdict import assert_right, evaluate, summed
from fc_pipeline_tests.support.fault_proxy import FaultProxy
from fc_pipeline_tests.support.networks import log_of, whole
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, missing_span, workbench

MAX_RUNS = 60


@dataclass
class Stage:
    """A replica that reads a hub through the proxy; `lines` are the log that the tables must tell of in the end."""

    scenario: str
    seed: int
    lines: list[bytes]
    proxy: FaultProxy
    bench: Workbench
    started: float = field(default_factory=time.monotonic)

    def catch_up(self, *, meanwhile: Callable[[int], None] = lambda run: None) -> list[HubError]:
        """Launch runs over what is missing, as the sensor does, until nothing is; how some of them failed.

        `meanwhile` is called before each with its number. Only errors of the hub are borne, and not for ever.
        """
        failed: list[HubError] = []
        for number in range(MAX_RUNS):
            meanwhile(number)
            try:
                span = self.bench.ask(lambda state: missing_span(state))
                if span is None:
                    return failed
                self.bench.run(f"run {number}", HourWindow(*span))
            except HubError as error:
                failed.append(error)
        raise AssertionError(f"seed {self.seed}: still something missing after {MAX_RUNS} runs; last: {failed[-1:]}")

    def end(
        self,
        *,
        lines: Sequence[bytes] | None = None,
        by_snapshots: bool = False,
        covered: bool = True,
        ended: str = "complete",
    ) -> None:
        """Note the four numbers, and have them be 0: for `lines`, if that is not the whole log.

        Where the feed was read, the ledger has every height of `lines`, the raw log every event, and each event of
        each page that came through is accounted for.
        """
        wanted = self.lines if lines is None else list(lines)
        oracle = Oracle(wanted)
        verdicts = evaluate(self.bench.tables, oracle, by_snapshots=by_snapshots)
        seconds = time.monotonic() - self.started
        results.RESULTS.append(Result(self.scenario, self.seed, len(wanted), summed(verdicts), seconds, ended))
        assert_right(verdicts)
        if covered:
            assert self.bench.ledger() == whole(wanted), f"seed {self.seed}"
            assert self._events_in_ledger() == len(wanted) == sum(map(len, self.bench.logged().values()))
        if not by_snapshots:
            self._settle(oracle)

    def is_covered(self, event: dict[str, Any]) -> bool:
        """Whether the ledger has the height of an event."""
        height = event["id"] >> 14
        return any(shard == event["shardIndex"] and low <= height <= high for shard, low, high in self.bench.ledger())

    def refused(self, *said: str, lines: Sequence[bytes] | None = None) -> None:
        """Whoever asks the hub, for events or for snapshots, is refused with all of this said; nothing is written.

        `lines` are what the tables tell of, if not the whole log.
        """
        before = self.bench.dump()
        for ask in (
            self.bench.survey,
            self._run_over_it,
            Backfill(self.bench.replica, "backfill", BackfillScope()).execute,
        ):
            with pytest.raises(HubError) as raised:
                ask()
            assert all(part in str(raised.value) for part in said), str(raised.value)
        assert self.bench.dump() == before
        self.end(lines=lines, covered=lines is None, ended=f"refused: {said[0]}")

    def _run_over_it(self) -> None:
        hours = self.bench.replica.log.hours()
        self.bench.run("refused", HourWindow(hours[0], hours[-1]))

    def _events_in_ledger(self) -> int:
        return int(self.bench.rows("SELECT coalesce(sum(events), 0) AS events FROM pipeline.coverage")[0].events)

    def _settle(self, oracle: Oracle) -> None:
        """Every page that came through: fetched = written + unchanged + filtered + quarantined."""
        accounts = Accounts(self.bench.tables, oracle)
        for page in self.proxy.pages:
            known = [event_id for event_id in page.event_ids if (page.shard, event_id) in oracle.events]
            account = accounts.settle(page.shard, known)
            assert account.unaccounted == 0, f"seed {self.seed}: {page.shard} {account}"


@contextmanager
def stage(
    scenario: str,
    seed: int,
    lines: list[bytes],
    database: Database,
    folder: Path,
    *,
    log: EventLog | None = None,
    hub: dict[str, Any] | None = None,
    other_hubs: Sequence[str] = (),
    **settings: Any,
) -> Generator[Stage]:
    """Open one; `hub` are options of the hub (`serving`), `settings` of the replica. Pages are small, so many.

    `log` is what the hub serves, if that is not all of `lines` from the beginning; `other_hubs` come after it.
    """
    settings = {"batch_events": 150, **settings}
    with (
        serving(log or log_of(lines), **(hub or {})) as url,
        FaultProxy(url, seed) as proxy,
        workbench(database, folder / "lake", proxy.url, *other_hubs, **settings) as bench,
    ):
        yield Stage(scenario, seed, lines, proxy, bench)
