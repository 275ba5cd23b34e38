"""The table of results at the end of a session, and the logs that scenarios are played on."""

from collections.abc import Iterator

import pytest

from fc_pipeline.feed import lanes
from fc_pipeline_tests.faults import results
from fc_pipeline_tests.faults.haste import haste


@pytest.fixture(autouse=True)
def folded_in_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a backlog, whatever is small enough to be played here: in two sessions beside each other."""
    monkeypatch.setattr(lanes, "MANY_EVENTS", 1)


@pytest.fixture
def in_haste() -> Iterator[None]:
    with haste():
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if results.CAUGHT:
        terminalreporter.section("planted bugs")
        for line in results.table_of_bugs(results.CAUGHT):
            terminalreporter.write_line(line)
    if results.RESULTS:
        terminalreporter.section("faults: what the tables hold afterwards, held against the oracle")
        for line in results.table(results.RESULTS):
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"the same again: {results.SEED_VARIABLE}=SEED make test-faults")
