"""In whatever order a replica reads the recorded node, and however often the node is restarted: what the node answers.

Compared are the node's answers by FID, by channel and by user, all that `support/node_comparison.py` lists, for every
user of the recording; each exception is named here with its rule.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

import httpx
import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.backfill.verify import verify
from fc_pipeline.errors import FcPipelineError
from fc_pipeline_tests.support.node_comparison import NodeAnswers, differences
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.recorded_node import recorded_answers, served_node
from fc_pipeline_tests.support.workbench import Workbench, workbench

TOLD_BY_THE_FEED_ALONE = {
    "channel_settings",
    "channel_members",
    "members of channels",
    "channel_pins",
    "channel_moderations",
    "storage",
}
"""Channels' messages are read from a feed (protocol-tables 3.3: no read gives their hash), and so are lends (2.2)."""
TOLD_BY_NO_FEED = {"signers"}
"""Gasless keys (protocol-tables 1.2): only the five that the node still lists."""


class Node:
    """The recorded node, which can be stopped and started where it was."""

    def __init__(self, fixtures: Path) -> None:
        self._fixtures = fixtures
        self._running = ExitStack()
        self.url = self._running.enter_context(served_node(fixtures))

    def stop(self) -> None:
        self._running.close()

    def start(self) -> None:
        self._running.enter_context(served_node(self._fixtures, urlsplit(self.url).port or 0))


@pytest.fixture
def node(shared_fixtures: Path) -> Iterator[Node]:
    node = Node(shared_fixtures)
    yield node
    node.stop()


@pytest.fixture
def bench(database: Database, lake: Path, node: Node) -> Iterator[Workbench]:
    with workbench(database, lake, node.url) as opened:
        yield opened


def sync(bench: Workbench) -> None:
    while bench.missing_hours():
        bench.run()


def backfill(bench: Workbench) -> None:
    while Backfill(bench.replica, "backfill", BackfillScope()).execute().unread:
        pass


def compared(bench: Workbench, node: Node, fids: list[int]) -> list[str]:
    with httpx.Client(base_url=node.url, timeout=60) as http:
        answers = NodeAnswers(http)
        found = differences(bench, answers, fids)
        assert answers.absent == set()
        return found


@pytest.fixture(scope="module")
def fids(shared_fixtures: Path) -> list[int]:
    return sorted(recorded_answers(shared_fixtures, "castsByFid"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [(sync, backfill), (backfill, sync), (backfill, sync, backfill), (sync, backfill, Workbench.rebuild)],
    ids=lambda steps: ", ".join(step.__name__ for step in steps),
)
def test_feed_and_answers_in_either_order_make_what_the_node_says(
    bench: Workbench, node: Node, fids: list[int], steps: tuple[Callable[[Workbench], object], ...]
) -> None:
    for step in steps:
        step(bench)
    assert compared(bench, node, fids) == []
    verified = verify(bench.replica).compared
    assert (verified.drift, verified.history) == ({}, {})


@pytest.mark.slow
def test_the_feed_alone_lacks_only_what_no_feed_tells(bench: Workbench, node: Node, fids: list[int]) -> None:
    sync(bench)
    found = compared(bench, node, fids)
    assert {line.split(":")[0] for line in found} == TOLD_BY_NO_FEED
    assert len(found) == 5
    assert all("only the node has" in line and "'gasless'" in line for line in found)


@pytest.mark.slow
def test_answers_alone_lack_only_what_only_the_feed_tells(bench: Workbench, node: Node, fids: list[int]) -> None:
    backfill(bench)
    found = compared(bench, node, fids)
    assert {line.split(":")[0] for line in found} == TOLD_BY_THE_FEED_ALONE
    lines = [line for line in found if not line.startswith(("storage", "channel_settings"))]
    assert all("only the node has" in line for line in lines), lines


@pytest.mark.slow
@pytest.mark.parametrize("step", [sync, backfill], ids=lambda step: step.__name__)
def test_a_node_that_is_restarted_in_the_midst_of_it_leaves_nothing_out(
    bench: Workbench, node: Node, fids: list[int], step: Callable[[Workbench], None]
) -> None:
    """Each time when something new is in the tables, until the step is through."""
    restarts = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(_until_through, step, bench)
        rows = 0
        while not running.done() and restarts < 3:
            now = bench.rows("SELECT count(*) FROM on_chain_events")[0][0]
            if now > rows:
                rows = now
                node.stop()
                sleep(0.5)
                node.start()
                restarts += 1
            sleep(0.02)
        running.result()
    assert restarts > 0
    (backfill if step is sync else sync)(bench)
    assert compared(bench, node, fids) == []


def _until_through(step: Callable[[Workbench], None], bench: Workbench) -> None:
    """A run that gave up is tried again, as Dagster does it."""
    while True:
        try:
            return step(bench)
        except FcPipelineError:
            sleep(0.1)
