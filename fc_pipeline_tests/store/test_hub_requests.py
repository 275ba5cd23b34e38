"""Requests to hubs: each run adds what it has sent, and what was in vain."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fc_pipeline.hub.request_counts import REQUEST_COUNTS, RequestCounts, Requests
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import hub_requests
from fc_pipeline.store.session import make_engine
from fc_pipeline_tests.support.networks import generated_network, log_of
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def nothing_of_before() -> None:
    REQUEST_COUNTS.take()


@pytest.fixture
def bench(database: Database, tmp_path: Path) -> Iterator[Workbench]:
    with (
        serving(log_of(generated_network(5))) as url,
        workbench(database, tmp_path / "lake", NOBODY, url) as opened,
    ):
        yield opened


def test_what_is_taken_is_counted_once_and_can_be_put_back() -> None:
    counts = RequestCounts()
    for _ in range(3):
        counts.sent("a")
    counts.failed("a")
    taken = counts.take()
    assert taken == {"a": Requests(3, 1)}
    assert counts.take() == {}
    counts.put_back(taken)
    counts.sent("b")
    assert counts.take() == {"a": Requests(3, 1), "b": Requests(1, 0)}


def test_a_run_adds_those_of_each_hub(bench: Workbench) -> None:
    bench.run()
    first = {row.hub: row for row in bench.rows("SELECT * FROM pipeline.hub_requests")}
    assert first.keys() == {NOBODY, *bench.replica.settings.hub_urls[1:]}
    assert first[NOBODY].requests == first[NOBODY].failures > 0
    (url,) = bench.replica.settings.hub_urls[1:]
    assert first[url].requests > first[url].failures == 0
    REQUEST_COUNTS.sent(url)
    hub_requests.note(bench.replica.engine)
    (row,) = bench.rows("SELECT requests FROM pipeline.hub_requests WHERE hub = :url", url=url)
    assert row.requests == first[url].requests + 1


def test_what_cannot_be_noted_is_noted_later(bench: Workbench) -> None:
    REQUEST_COUNTS.sent("a hub")
    dead = make_engine("postgresql://me@127.0.0.1:9/nowhere?connect_timeout=2")
    hub_requests.note(dead)
    assert bench.rows("SELECT * FROM pipeline.hub_requests WHERE hub = 'a hub'") == []
    hub_requests.note(bench.replica.engine)
    assert [row.requests for row in bench.rows("SELECT * FROM pipeline.hub_requests WHERE hub = 'a hub'")] == [1]
