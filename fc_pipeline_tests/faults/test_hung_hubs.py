"""A hub that hangs beside one that is well: the cursor goes on, and who looks is told of what there is."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.status.status import read_status
from fc_pipeline_tests.faults.fleet import fleet
from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.fault_proxy import FaultProxy, Request
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import Workbench, workbench

MAX_SECONDS = 120.0
"""Until what a test waits for has happened; what it waits for is not the time."""


@contextmanager
def relay(upstream: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """The hub once more, in a process of its own."""
    command = [sys.executable, "-m", "fc_pipeline_tests.faults.relay", upstream]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.send_signal(signal.SIGCONT)
        process.terminate()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + MAX_SECONDS
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def cursors(bench: Workbench) -> dict[int, int]:
    return {shard: last for shard, _, last in bench.ledger()}


@pytest.mark.faults
def test_a_stopped_process_beside_a_hub_that_is_well(database: Database, tmp_path: Path) -> None:
    """The run that follows does not fail, reads on from the other hub, and `status` is told by that one."""
    with fleet("request", apart_seconds=0.0) as hub, relay(hub.ahead) as (stopped_url, process):
        urls = (stopped_url, hub.behind)
        with workbench(database, tmp_path / "lake", *urls, batch_seconds=0.2) as bench:
            present = bench.survey().present_hour
            assert present is not None
            first = bench.missing_span().first
            is_over = False
            run = bench.make_run("follower", HourWindow(first, present), follow_seconds=MAX_SECONDS)
            run.should_stop = lambda: is_over

            def scene() -> None:
                nonlocal is_over
                wait_for(lambda: len(cursors(bench)) == 2)
                process.send_signal(signal.SIGSTOP)
                at_stop = cursors(bench)
                wait_for(lambda: all(last >= at_stop[shard] + 6 for shard, last in cursors(bench).items()))
                found = read_status(bench.replica)
                assert found.hub_error is None
                is_over = True

            with ThreadPoolExecutor(1) as beside:
                playing = beside.submit(scene)
                run.execute()
                playing.result()
            assert len(bench.ledger()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silence", "silence within the body"])
def test_status_of_a_hub_that_hangs(database: Database, tmp_path: Path, how: str) -> None:
    """Whatever it hangs at: the rest is told, and which hub it was."""

    def hangs(request: Request, answer: Answer) -> Answer:
        if how == "silence":
            return Answer(silent=True, then="hang")
        return Answer(answer.status, answer.body, sent=len(answer.body) // 2, then="hang")

    with (
        fleet("request", apart_seconds=0.0) as hub,
        FaultProxy(hub.ahead) as proxy,
        workbench(database, tmp_path / "lake", proxy.url) as bench,
    ):
        bench.run()
        proxy.change = hangs
        found = read_status(bench.replica)
        assert found.hub_error is not None
        assert f"hub {proxy.url} " in found.hub_error
        assert [shard.cursor_height for shard in found.shards] == [last for _, _, last in bench.ledger()]
