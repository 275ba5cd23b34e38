"""A real `up` that tells a real receiver: faults come and go, each is told once, and once that it is over."""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import pytest

from fc_pipeline.sample_hub.generator import generate
from fc_pipeline.sample_hub.live import Endless
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.ports import free_port
from fc_pipeline_tests.faults.test_crash_processes import pid_of
from fc_pipeline_tests.faults.test_other_histories import reset
from fc_pipeline_tests.support.bad_answers import Answer
from fc_pipeline_tests.support.fault_proxy import FaultProxy, Request
from fc_pipeline_tests.support.live_up import Live
from fc_pipeline_tests.support.pipeline import open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.postgres_link import Link, postgres_link
from fc_pipeline_tests.support.receiver import Receiver, receiving
from fc_pipeline_tests.support.up import Up, data_dir  # noqa: F401 - a fixture

pytestmark = pytest.mark.faults

TOLD_SECONDS = 400.0
OVER_SECONDS = 900.0
"""Until it counts as never told; an hour's failed run, as where the hub is down, is over once another has read it."""
DAEMON = "fc_pipeline.orchestration.servers.daemon"


@dataclass
class Scene:
    """`up` between a hub and a Postgres that can be taken away from it."""

    live: Live
    hub: FaultProxy
    postgres: Link
    receiver: Receiver
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def play(self, words: str, do: Callable[[], None], undo: Callable[[], None]) -> None:
        """Have a fault until it is told as red with these words, and then until it is told as over."""
        before, begun = self.turns(), time.monotonic()
        do()
        title = self._wait(f"RED: {words}", before, TOLD_SECONDS).removeprefix("RED: ")
        before, told = self.turns(), time.monotonic()
        undo()
        self._wait(f"OVER: {title}", before, OVER_SECONDS)
        self.seconds[title] = told - begun, time.monotonic() - told

    def turns(self) -> Counter[str]:
        """How often it was told of each turn, by the line that names it."""
        parts = [part for message in list(self.receiver.messages) for part in message["message"].split("\n\n")]
        return Counter(part.splitlines()[0] for part in parts)

    def standing(self) -> list[str]:
        """What was told as red more often than as over."""
        turns = self.turns()
        reds = [line.removeprefix("RED: ") for line in turns if line.startswith("RED: ")]
        return [title for title in reds if turns[f"RED: {title}"] > turns[f"OVER: {title}"]]

    def _wait(self, beginning: str, before: Counter[str], seconds: float) -> str:
        """The line that begins so and that it was told of since then."""
        deadline = time.monotonic() + seconds
        while not (found := [line for line in self.turns() - before if line.startswith(beginning)]):
            assert time.monotonic() < deadline, (beginning, self.turns())
            time.sleep(0.5)
        return found[0]


@pytest.fixture
def scene(database: Database, data_dir: Path) -> Iterator[Scene]:  # noqa: F811
    now = int(time.time())
    log = log_from_lines(generate(13, fids=50, events=200, events_per_second=20.0, start_unix=now - 12))
    with (
        serving(log, growth=Endless(log, events_per_second=20.0, start_unix=now)) as url,
        FaultProxy(url) as proxy,
        postgres_link(database.url) as (link, linked_url),
        open_pipeline(database, data_dir, proxy.url) as pipeline,
        receiving() as receiver,
    ):
        variables = {"FC_POSTGRES_URL": linked_url, "FC_HUB_URLS": proxy.url, "FC_ALERT_URLS": receiver.url}
        up = Up(data_dir, free_port(), FC_FOLLOW_SECONDS="30", **variables)
        up.wait_until_up()
        live = Live(log, pipeline, up)
        live.follower()
        yield Scene(live, proxy, link, receiver)
        if up.process.poll() is None:
            up.process.send_signal(signal.SIGINT)
            up.process.wait(TOLD_SECONDS)


def silence(hub: FaultProxy, shard: int, height: int) -> None:
    """The shard has no block above this height."""

    def ask(request: Request) -> Request:
        if request.path != "/v1/events" or request.params.get("shard_index") != str(shard):
            return request
        params = {**request.params, "stop_id": str(min(int(request.params.get("stop_id", 2**62)), height + 1 << 14))}
        return Request(f"{request.path}?{urlencode(params)}", request.path, params, request.attempt)

    def change(request: Request, answer: Answer) -> Answer:
        if request.path != "/v1/info" or answer.status != 200:
            return answer
        said = json.loads(answer.body)
        for one in said["shardInfos"]:
            if one["shardId"] == shard:
                one["maxHeight"] = min(one["maxHeight"], height)
        return Answer(answer.status, json.dumps(said).encode(), answer.headers)

    hub.ask, hub.change = ask, change


def make_sound(hub: FaultProxy) -> None:
    hub.ask, hub.change = lambda request: request, lambda request, answer: answer


def test_faults_of_hub_postgres_and_daemon(scene: Scene) -> None:
    hub, postgres, live = scene.hub, scene.postgres, scene.live

    def newest_height(shard: int) -> int:
        return live.hub.shards[shard].event_ids[-1] >> 14

    def reset_hub() -> None:
        hub.change = reset

    def cut() -> None:
        postgres.refusing = True
        postgres.cut_all()

    def joined() -> None:
        postgres.refusing = False

    scene.play(f"the hub {hub.url} does not answer", hub.down, hub.up)
    scene.play("check no_standstill of hub_events", lambda: silence(hub, 2, newest_height(2)), lambda: make_sound(hub))
    scene.play("no hub can be followed", reset_hub, lambda: make_sound(hub))
    scene.play("Postgres does not answer", cut, joined)
    daemon = pid_of(live, DAEMON)
    scene.play(
        "Dagster's daemon does not beat",
        lambda: os.kill(daemon, signal.SIGSTOP),
        lambda: os.kill(daemon, signal.SIGCONT),
    )
    deadline = time.monotonic() + OVER_SECONDS
    while standing := scene.standing():
        assert time.monotonic() < deadline, standing
        time.sleep(1.0)
    turns = scene.turns()
    for title, (told, over) in scene.seconds.items():
        print(f"RED {title:60} told {told:3.0f} s after the fault, over {over:3.0f} s after its end")
    of_scenes = {f"{kind}: {title}" for kind in ("RED", "OVER") for title in scene.seconds}
    for line, times in turns.items():
        if line.startswith(("RED: ", "YELLOW: ", "OVER: ")) and line not in of_scenes:
            print(f"besides, {times} x {line}")
    assert {title: (turns[f"RED: {title}"], turns[f"OVER: {title}"]) for title in scene.seconds} == dict.fromkeys(
        scene.seconds, (1, 1)
    )
