"""A hub that is down, stale, silent on one shard, or dies of an event: what it has comes in the end, once."""

import json
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.errors import HubError, HubUnavailable
from fc_pipeline.feed.drain import HourWindow
from fc_pipeline.repair.gaps import heal_gaps
from fc_pipeline.sample_hub.live import Reveal
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.faults.haste import haste
from fc_pipeline_tests.faults.results import every_seed, with_a_fast_one, with_a_slow_one
from fc_pipeline_tests.faults.stage import stage
from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.events import HOUR_UNIX
from fc_pipeline_tests.support.fault_proxy import FaultProxy, Request
from fc_pipeline_tests.support.networks import generated_network, log_of, moved, up_to, whole
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.workbench import missing_span

AN_HOUR_SECONDS = 1.2
"""An hour for who is in haste."""


def go_away(hub: FaultProxy) -> None:
    hub.down()
    time.sleep(AN_HOUR_SECONDS)
    hub.up()


@with_a_slow_one
def test_down_for_an_hour(database: Database, tmp_path: Path, seed: int) -> None:
    """Runs follow a hub that makes blocks, goes away while it does, and comes back with what it made meanwhile."""
    rng = Random(seed)
    log = log_of(generated_network(seed))
    growth = Reveal(log, events_per_second=log.events / 2.5, start_unix=time.time())
    with (
        haste(3600 / AN_HOUR_SECONDS),
        stage("hub down for an hour", seed, [], database, tmp_path, log=log, hub={"growth": growth}) as on,
    ):
        outage = threading.Timer(0.3 + rng.random(), go_away, [on.proxy])
        outage.start()
        shown = [raw for shard in log.shards.values() for raw in shard.raws]
        failed: list[HubError] = []
        deadline = time.monotonic() + 30.0
        while on.bench.ledger() != whole(shown):
            assert time.monotonic() < deadline, failed[-1:]
            try:
                span = on.bench.ask(lambda state: missing_span(state))
                if span is not None:
                    run = on.bench.make_run(f"run {len(failed)}", HourWindow(*span), follow_seconds=60.0)
                    run.should_stop = lambda: on.bench.ledger() == whole(shown)
                    run.execute()
            except HubError as error:
                failed.append(error)
            time.sleep(0.05)
        outage.join()
        # Block times are those at which they were shown.
        on.lines = [raw for shard in log.shards.values() for raw in shard.raws]
        assert failed
        assert all(isinstance(error, HubUnavailable) for error in failed)
        on.end(ended=f"complete, {len(failed)} runs failed")


@pytest.mark.slow
@with_a_fast_one
@pytest.mark.usefixtures("in_haste")
def test_alive_but_stale_beside_a_fresh_one(database: Database, tmp_path: Path, seed: int) -> None:
    """The preferred hub has stopped in the middle of its log, hours ago."""
    lines = generated_network(seed)
    old = up_to(lines, Random(seed).uniform(0.2, 0.8))
    with (
        serving(log_of(lines), clock=lambda: HOUR_UNIX + 3600.0) as fresh,
        stage(
            "alive but stale, another fresh", seed, lines, database, tmp_path, log=log_of(old), other_hubs=(fresh,)
        ) as on,
    ):
        on.catch_up()
        # Asked for the block that tells its history, when it is vetted, and for no more.
        assert {len(page.event_ids) for page in on.proxy.pages} <= {1}
        on.end()


@every_seed
@pytest.mark.usefixtures("in_haste")
def test_alive_but_stale_and_fresh_again(database: Database, tmp_path: Path, seed: int) -> None:
    lines = generated_network(seed)
    old = up_to(lines, Random(seed).uniform(0.2, 0.8))
    with stage("alive but stale, then fresh", seed, lines, database, tmp_path) as on, serving(log_of(old)) as stale:
        fresh, on.proxy.upstream = on.proxy.upstream, stale
        on.catch_up()
        on.end(lines=old, ended="complete as far as it goes")
        on.proxy.upstream = fresh
        on.catch_up()
        on.end()


@pytest.mark.slow
@with_a_fast_one
@pytest.mark.usefixtures("in_haste")
def test_one_shard_falls_silent_and_speaks_again(database: Database, tmp_path: Path, seed: int) -> None:
    lines = generated_network(seed)
    rng = Random(seed)
    silent = rng.choice((1, 2))
    kept = {*up_to(lines, rng.uniform(0.0, 0.9))}
    heard = [line for line in lines if json.loads(line)["shardIndex"] != silent or line in kept]
    with stage("one shard silent", seed, lines, database, tmp_path) as on, serving(log_of(heard)) as half:
        sound, on.proxy.upstream = on.proxy.upstream, half
        on.catch_up()
        on.end(lines=heard, ended="complete as far as it goes")
        on.proxy.upstream = sound
        on.catch_up()
        on.end()


@with_a_slow_one
@pytest.mark.usefixtures("in_haste")
def test_equal_event_ids_on_two_shards(database: Database, tmp_path: Path, seed: int) -> None:
    lines = generated_network(seed)
    heights = {shard: first for shard, first, _ in whole(lines)}
    lines = moved(lines, 2, heights[1] - heights[2])
    ids = [{json.loads(line)["id"] for line in lines if json.loads(line)["shardIndex"] == shard} for shard in (1, 2)]
    assert len(ids[0] & ids[1]) > 500
    with stage("equal event ids on two shards", seed, lines, database, tmp_path) as on:
        on.proxy.bad_share = 0.1
        on.catch_up()
        on.end()


@with_a_slow_one
@pytest.mark.usefixtures("in_haste")
def test_pages_that_the_hub_dies_of(database: Database, tmp_path: Path, seed: int) -> None:
    """Events that no answer can hold are stepped over, kept in mind, and made good by snapshots."""
    lines = generated_network(seed)
    rng = Random(seed)
    events = {line: json.loads(line) for line in lines}
    able = [line for line in lines if events[line]["type"] == "HUB_EVENT_TYPE_MERGE_MESSAGE"]
    poison = set(rng.sample(able, 3))
    ids = {(events[line]["shardIndex"], events[line]["id"]) for line in poison}
    rest = [line for line in lines if line not in poison]

    def dies(request: Request, answer: Answer) -> Answer:
        if not request.path.startswith("/v1/event") or answer.status != 200:
            return answer
        said: dict[str, Any] = json.loads(answer.body)
        held = {(event["shardIndex"], event["id"]) for event in said.get("events", [said])}
        return Answer(silent=True, then="close") if held & ids else answer

    with stage("pages that the hub dies of", seed, lines, database, tmp_path) as on:
        on.proxy.change = dies
        on.catch_up()
        on.end(lines=rest)
        poisoned = {(shard, event_id) for shard, event_id, reason in on.bench.quarantine() if reason == "poison_page"}
        assert poisoned == ids
        heal_gaps(on.bench.replica, "healer", lambda scope: Backfill(on.bench.replica, "healer", scope))
        # Whom nothing else in the block speaks of, healing does not know of: the audit finds what is wrong with them.
        Backfill(on.bench.replica, "audit", BackfillScope()).execute()
        on.end(by_snapshots=True, covered=False, ended="healed by snapshots and an audit")
