"""Every check that a fault turns red is told once with remedy and runbook, and once that it is over, by a watcher."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from dagster import AssetCheckKey, AssetKey

from fc_pipeline.alerts.watch import LOOK_SECONDS
from fc_pipeline.orchestration.checks.catalog import ALL_CHECKS
from fc_pipeline.orchestration.checks.wording import remedy_of, runbook_of
from fc_pipeline.plain_text import one_line
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline_tests.faults.damaged_checks import DAMAGES, Damage, execute, settle
from fc_pipeline_tests.support.alerts_process import alerts_watching
from fc_pipeline_tests.support.comparing import complete
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.receiver import Receiver, receiving
from fc_pipeline_tests.support.served_in_part import folded, serves_all
from fc_pipeline_tests.support.target_network import HOUR_OF_ALL, network_of_nine

pytestmark = pytest.mark.faults

SPECS = {spec.key: spec for checks in ALL_CHECKS for spec in checks.check_specs}
TIMEOUT_SECONDS = 300.0
LOOKED_AT_BY_THE_WATCHER = {"fresh", "no_standstill"}
NEED_A_HUB_THAT_SIGNS = {"state_root", "message_proofs"}
"""Their damages are in orchestration/checks; a watcher reads them as it does all others."""


@dataclass
class Turned:
    """When each check turned, by what it said last."""

    pipeline: Pipeline
    receiver: Receiver
    bad: dict[Damage, float] = field(default_factory=dict[Damage, float])
    good: dict[Damage, float] = field(default_factory=dict[Damage, float])

    def evaluate(self, damage: Damage, *, passes: bool) -> None:
        (said,) = self.pipeline.evaluate(damage.asset, damage.check).get_asset_check_evaluations()
        assert said.passed is passes, (damage.title, said.description)
        if not passes:
            assert said.severity.value == damage.severity, (damage.title, said.description)
        (self.good if passes else self.bad)[damage] = time.time()

    def wait_until_told(self, words: Callable[[Damage], str]) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while untold := [one.title for one in self.bad if not self.receiver.told(words(one))]:
            assert time.monotonic() < deadline, (untold, self.receiver.messages)
            time.sleep(0.5)

    def check_each_was_told_once(self) -> None:
        """And print how long it took."""
        for damage, turned in self.bad.items():
            ((told_at, words),) = self.receiver.told(f"{damage.word}: {damage.title}")
            ((over_at, _),) = self.receiver.told(f"OVER: {damage.title}")
            spec = SPECS[AssetCheckKey(AssetKey(damage.asset), damage.check)]
            assert one_line(remedy_of(spec)) in words
            assert f"Runbook: {runbook_of(spec)}" in words
            seconds = told_at - turned, over_at - self.good[damage]
            print(f"{damage.word:6} {damage.title:50} told after {seconds[0]:3.0f} s, over after {seconds[1]:3.0f} s")
        titles = {damage.title for damage in self.bad}
        parts = [part for message in self.receiver.messages for part in message["message"].split("\n\n")]
        told = {part.splitlines()[0].partition(": ")[2] for part in parts}
        assert {
            title for title in told if title.startswith("check ")
        } == titles  # that no daemon runs here is told, too


def play(pipeline: Pipeline, damages: Sequence[Damage], folder: Path) -> None:
    with receiving() as receiver:
        turned = Turned(pipeline, receiver)
        for damage in damages:
            assert pipeline.evaluate(damage.asset, damage.check).success
        with alerts_watching(pipeline.environment, receiver, folder / "watcher.log"):
            for damage in damages:
                damage.do(pipeline)
                turned.evaluate(damage, passes=False)
            turned.wait_until_told(lambda damage: f"{damage.word}: {damage.title}")
            for damage in damages:
                damage.undo(pipeline)
                turned.evaluate(damage, passes=True)
            turned.wait_until_told(lambda damage: f"OVER: {damage.title}")
            time.sleep(2 * LOOK_SECONDS)  # what would be told again is told by then
        turned.check_each_was_told_once()


def test_each_check_of_log_and_tables(database: Database, tmp_path: Path) -> None:
    with folded(database, tmp_path / "data", serves_all) as pipeline:
        settle(pipeline)
        play(pipeline, DAMAGES, tmp_path)


@pytest.fixture
def pipeline_of_targets(database: Database, tmp_path: Path, embedded_redis: EmbeddedRedis) -> Iterator[Pipeline]:
    variables = {"FC_TARGETS": "set", "FC_ROOT_FIDS": "1", "FC_REDIS_URL": embedded_redis.url()}
    with (
        serving(network_of_nine()) as url,
        open_pipeline(database, tmp_path / "data", url, **variables) as pipeline,
    ):
        assert pipeline.materialize(hour=HOUR_OF_ALL).success
        complete(pipeline.bench)
        yield pipeline


def _tamper(pipeline: Pipeline) -> None:
    (line,) = pipeline.bench.rows("SELECT cache_key FROM pipeline.target_set")
    with redis.Redis.from_url(pipeline.environment["FC_REDIS_URL"]) as client:
        client.sadd(f"fc_pipeline:targets:{line.cache_key}:members", 77)


DAMAGES_OF_TARGETS = (
    # Evaluated again, the check finds what it has put right itself.
    Damage("targets", "redis_equals_postgres", _tamper, lambda pipeline: None),
    Damage(
        "targets",
        "histories_complete",
        lambda pipeline: execute(
            pipeline, "UPDATE pipeline.targets SET synced_at = NULL, since = now() - interval '2 hours' WHERE fid = 2"
        ),
        lambda pipeline: execute(pipeline, "UPDATE pipeline.targets SET synced_at = now() WHERE fid = 2"),
        severity="WARN",
    ),
)


def test_each_check_of_the_target_set(pipeline_of_targets: Pipeline, tmp_path: Path) -> None:
    play(pipeline_of_targets, DAMAGES_OF_TARGETS, tmp_path)


def test_no_check_is_left_out() -> None:
    """Of several tables' checks of one name one is damaged; what the watcher looks at is in `test_alerts_of_up`."""
    damaged = {damage.check for damage in (*DAMAGES, *DAMAGES_OF_TARGETS)}
    assert damaged | LOOKED_AT_BY_THE_WATCHER | NEED_A_HUB_THAT_SIGNS == {key.name for key in SPECS}
