"""A hub that is reset, rolled back, resharded or of another history is refused, and nothing of it is written."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from fc_pipeline.errors import HubError, LakeError
from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.faults.results import each_with_every_seed, with_a_fast_one
from fc_pipeline_tests.faults.stage import stage
from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.fault_proxy import Request
from fc_pipeline_tests.support.networks import changed, generated_network, log_of, up_to
from fc_pipeline_tests.support.postgres import Database


def reset(request: Request, answer: Answer) -> Answer:
    """An empty chain: no block, no user."""
    said = json.loads(answer.body) if answer.body else {}
    if request.path == "/v1/info":
        for shard in said["shardInfos"]:
            shard.update(maxHeight=0, numMessages=0, numFidRegistrations=0)
    for name in ("events", "messages", "proofs", "fids"):
        if name in said:
            said[name] = []
    return Answer(answer.status, json.dumps(said).encode(), answer.headers)


def rolled_back(lines: list[bytes], rng: Random) -> EventLog:
    return log_of(up_to(lines, rng.uniform(0.1, 0.8)))


def resharded(lines: list[bytes], rng: Random) -> EventLog:
    made = generate(rng.randrange(1000), fids=40, events=2400, events_per_second=30.0, start_unix=HOUR_UNIX, shards=3)
    return log_of(made)


def regrown(lines: list[bytes], rng: Random) -> EventLog:
    """Other blocks at the same heights, and beyond."""
    return log_of(generated_network(rng.randrange(1000, 2000), events=3000))


def forked(lines: list[bytes], rng: Random) -> EventLog:
    """The same users and messages, the same heights, but every block has another hash."""

    def fork(event: dict[str, object]) -> None:
        block = event.get("blockConfirmedBody")
        if isinstance(block, dict):
            block["blockHash"] = f"0x{rng.getrandbits(256):064x}"

    return log_of(changed(lines, fork))


OTHERS: dict[str, tuple[Callable[[list[bytes], Random], EventLog], str]] = {
    "rolled back": (rolled_back, "is behind: its shard"),
    "another number of shards": (resharded, "3 data shards, but the replica was begun with 2"),
    "reset and grown from scratch": (regrown, "has another history: block"),
    "forked": (forked, "has another history: block"),
}


@pytest.mark.slow
@each_with_every_seed("other", OTHERS, fast=("another number of shards", "forked"))
@pytest.mark.usefixtures("in_haste")
def test_a_hub_of_another_history_is_refused(database: Database, tmp_path: Path, other: str, seed: int) -> None:
    make, said = OTHERS[other]
    lines = generated_network(seed)
    with stage(other, seed, lines, database, tmp_path) as on, serving(make(lines, Random(seed))) as url:
        on.catch_up()
        on.proxy.pages.clear()
        right, on.proxy.upstream = on.proxy.upstream, url
        on.refused(said)
        on.proxy.upstream = right
        assert on.catch_up() == []


@pytest.mark.slow
@with_a_fast_one
@pytest.mark.usefixtures("in_haste")
def test_a_hub_that_was_reset_is_refused(database: Database, tmp_path: Path, seed: int) -> None:
    lines = generated_network(seed)
    with stage("reset, an empty chain", seed, lines, database, tmp_path) as on:
        on.catch_up()
        on.proxy.change = reset
        on.refused("is behind: its shard")


@each_with_every_seed("other", ("reset", "rolled back"), fast=(), slow=("rolled back",))
@pytest.mark.usefixtures("in_haste")
def test_a_hub_that_goes_back_in_the_middle_of_a_run(database: Database, tmp_path: Path, other: str, seed: int) -> None:
    """Whatever the run has read by then is right, and what it says in the end names the hub."""
    lines = generated_network(seed)
    rng = Random(seed)
    moment = rng.randrange(15, 45)
    with (
        stage(f"{other} in the middle of a run", seed, lines, database, tmp_path) as on,
        serving(log_of(up_to(lines, 0.05))) as young,
    ):
        old = on.proxy.upstream

        def go_back(request: Request, answer: Answer) -> Answer:
            is_over = len(on.proxy.requests) > moment
            if is_over and other == "rolled back":
                on.proxy.upstream = young
            return reset(request, answer) if is_over and other == "reset" else answer

        on.proxy.change = go_back
        ended = "at its tip, as it seemed"
        try:
            on.bench.run("interrupted", on.bench.missing_span())
        except (HubError, LakeError) as error:  # the latter where it goes back before anything is read of it
            ended = f"refused: {error}"
        assert not ended.startswith("refused") or "127.0.0.1" in ended, ended
        on.proxy.change = lambda request, answer: answer
        on.proxy.upstream = old
        read = [line for line in lines if on.is_covered(json.loads(line))]
        on.end(lines=read, covered=False, ended=ended)
        on.catch_up()
        on.end()
