"""The live suite itself, as `make test-live` runs it, against hubs served here: so that it is right on the day."""

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from fc_pipeline.sample_hub.app import hub_app
from fc_pipeline.sample_hub.command import sample_hub
from fc_pipeline.sample_hub.log import load_log
from fc_pipeline.sample_hub.serving import hub_server, listening_socket, serving
from fc_pipeline_tests.support.recorded_node import served_node

PROJECT = Path(__file__).resolve().parents[2]
SUITE = "fc_pipeline_tests/live"
ONE_FILE = f"{SUITE}/test_endpoints.py"
MINUTES = 0.1
EVENTS_PER_SECOND = 30.0
MAX_REQUESTS = 500
"""What the suite may ask beside following: it is meant for hubs of other people."""
SHARDS = 2


@dataclass
class Counted:
    """An application that notes what it is asked for."""

    app: ASGIApp
    requests: list[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.requests.append(scope["path"])
        await self.app(scope, receive, send)


@contextmanager
def growing_hub() -> Generator[tuple[str, list[str]]]:
    """The base URL of a hub that has a past and goes on, and the paths it is asked for."""
    hub = sample_hub(None, generate_events=3_000, fids=150, live_rate=EVENTS_PER_SECOND, endless=True)
    app = hub_app(hub)
    requests: list[str] = []
    app.add_middleware(Counted, requests=requests)
    server = hub_server(app)
    listener = listening_socket("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", requests
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def run_suite(path: str = SUITE, **variables: str) -> tuple[int, str]:
    """Exit code and report of the suite, or one file of it, in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FC_", "DAGSTER_", "PYTEST_"))}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", path],
        cwd=PROJECT,
        env={**kept, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return result.returncode, result.stdout


@pytest.mark.slow
def test_it_passes_against_a_hub_that_goes_on_and_asks_little_of_it() -> None:
    with growing_hub() as (url, requests):
        exit_code, report = run_suite(FC_LIVE_HUB_URLS=url, FC_LIVE_MINUTES=str(MINUTES))
    assert exit_code == 0, report
    assert re.search(r"^\d+ passed, 1 skipped(, \d+ warnings?)? in ", report, re.MULTILINE), report
    assert "FC_TEST_HUB names no node" in report
    assert f"hub {url}, version" in report
    assert re.search(r"synced \d+ blocks", report)
    assert 0 < len(requests) <= MAX_REQUESTS + SHARDS * MINUTES * 60, f"{len(requests)} requests"


@pytest.mark.slow
def test_without_a_hub_it_is_skipped_and_says_what_was_tried() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # taken, and nobody listens
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        exit_code, report = run_suite(ONE_FILE, FC_LIVE_HUB_URLS=url)
    assert exit_code == 0, report
    assert re.search(r"^\d+ skipped in ", report, re.MULTILINE), report
    assert f"no hub of the live network can be used, 1 tried: hub {url} GET /v1/info" in report


@pytest.mark.slow
def test_a_hub_that_stands_still_is_not_taken() -> None:
    with serving(load_log(PROJECT / "data" / "sample" / "events.ndjson.gz")) as url:
        exit_code, report = run_suite(ONE_FILE, FC_LIVE_HUB_URLS=url)
    assert exit_code == 0, report
    assert f"hub {url} stands still" in report


@pytest.mark.slow
def test_any_node_is_compared_whole(shared_fixtures: Path) -> None:
    with served_node(shared_fixtures) as url:
        exit_code, report = run_suite(f"{SUITE}/test_whole_node.py", FC_TEST_HUB=url)
    assert exit_code == 0, report
    assert f"{url}: 60 of 60 users compared with the whole feed; the node lacks nothing; differences: 0" in report


def test_a_plain_run_of_all_tests_leaves_it_out(request: pytest.FixtureRequest) -> None:
    if any(f"{SUITE}/" in f"{argument}/" for argument in request.config.args):
        pytest.skip("the live suite was asked for")
    assert [item.nodeid for item in request.session.items if item.nodeid.startswith(f"{SUITE}/")] == []
