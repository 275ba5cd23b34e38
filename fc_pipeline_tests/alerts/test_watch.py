"""The watch with sources of its own: what it keeps, when it sends, and when it ends."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from fc_pipeline.alerts.addresses import addresses_of
from fc_pipeline.alerts.condition import Condition, Reading, Severity
from fc_pipeline.alerts.memory_file import MemoryFile
from fc_pipeline.alerts.processes import UP_GONE
from fc_pipeline.alerts.turns import Memory
from fc_pipeline.alerts.watch import Source, Watch
from fc_pipeline.config.quiet_hours import QuietHours
from fc_pipeline_tests.support.receiver import Receiver, receiving

NIGHT = datetime(2026, 11, 30, 23, 0, tzinfo=UTC).timestamp()


class Scene:
    """Conditions that the test sets, and a clock that it moves."""

    def __init__(self, folder: Path, *receivers: Receiver) -> None:
        self.conditions: list[Condition] = []
        self.now = NIGHT
        sources = [
            Source("here", frozenset({"check", "up"}), lambda: Reading(tuple(self.conditions))),
            Source("dead", frozenset({"run"}), self.fail, needs_postgres=True),
            Source("Postgres", frozenset({"postgres"}), lambda: Reading(tuple(self.postgres)), is_gate=True),
        ]
        self.postgres: list[Condition] = []
        self.failure: Exception | None = None
        self.file = MemoryFile(folder)
        addresses = addresses_of([receiver.url for receiver in receivers])
        self.watch = Watch(sources, addresses, self.file, "place", QuietHours.parse("22-07"), clock=lambda: self.now)

    def fail(self) -> Reading:
        if self.failure is not None:
            raise self.failure
        return Reading()

    def look(self, seconds: float = 20.0) -> None:
        self.watch.look(self.watch.sources)
        self.now += seconds


def red(key: str) -> Condition:
    return Condition(key, Severity.RED, key)


def yellow(key: str) -> Condition:
    return Condition(key, Severity.YELLOW, key)


def test_many_turns_are_one_message(tmp_path: Path) -> None:
    with receiving() as receiver:
        scene = Scene(tmp_path, receiver)
        scene.conditions = [red(f"check:{number}") for number in range(30)]
        scene.look()
        scene.look()
    assert receiver.titles == ["fc_pipeline 30 red"]


def test_yellow_waits_for_the_end_of_the_quiet_hours(tmp_path: Path) -> None:
    with receiving() as receiver:
        scene = Scene(tmp_path, receiver)
        scene.conditions = [yellow("check:brief"), yellow("check:long"), red("check:bad")]
        scene.look()
        assert receiver.titles == ["fc_pipeline red: check:bad"]
        scene.conditions = [yellow("check:long")]
        scene.look(seconds=9 * 3600)
        assert receiver.titles[1:] == ["fc_pipeline over: check:bad"]
        scene.look()
    assert receiver.titles[2:] == ["fc_pipeline yellow: check:long"]


def test_of_two_addresses_the_one_that_accepts_is_told_once_and_the_other_later(tmp_path: Path) -> None:
    with receiving() as well, receiving(status=500) as ill:
        scene = Scene(tmp_path, well, ill)
        scene.conditions = [red("check:a")]
        scene.look()
        scene.conditions = []
        scene.look()
        assert (well.titles, ill.titles) == (["fc_pipeline red: check:a", "fc_pipeline over: check:a"], [])
        ill.status = 200
        scene.now += 600
        scene.look()
        assert ill.titles == ["fc_pipeline 1 red, 1 over"]
        assert len(well.messages) == 2
    assert scene.file.read() == Memory()


def test_a_source_that_fails_takes_no_other_along(tmp_path: Path) -> None:
    with receiving() as receiver:
        scene = Scene(tmp_path, receiver)
        scene.now += 12 * 3600  # by day
        scene.failure = RuntimeError("postgresql://me:geheim@host/db went away")
        scene.conditions = [red("check:a")]
        for _ in range(8):
            scene.look()
        assert receiver.titles == ["fc_pipeline red: check:a", "fc_pipeline yellow: the watcher cannot look at dead"]
        assert "geheim" not in str(receiver.messages)
        scene.postgres = [red("postgres:unreachable")]
        scene.look()
        scene.postgres, scene.failure = [], None
        scene.look()
    assert receiver.titles[2:] == [
        "fc_pipeline red: postgres:unreachable",
        "fc_pipeline 2 over",
    ]


def test_what_was_to_be_told_when_it_was_killed_is_told_by_the_next(tmp_path: Path) -> None:
    with receiving(status=500) as receiver:
        scene = Scene(tmp_path, receiver)
        scene.conditions = [red("check:a")]
        scene.look()
        receiver.status = 200
        again = Scene(tmp_path, receiver)
        again.conditions = scene.conditions
        again.look()
        again.look()
    assert receiver.titles == ["fc_pipeline red: check:a"]


def test_it_ends_once_it_has_told_that_up_is_gone(tmp_path: Path) -> None:
    with receiving() as receiver:
        scene = Scene(tmp_path, receiver)
        scene.conditions = [red(UP_GONE)]
        scene.watch.run(Event(), ends_with_up=True)
    assert receiver.titles == [f"fc_pipeline red: {UP_GONE}"]


def test_its_last_look_before_it_ends_is_at_up_alone(tmp_path: Path) -> None:
    with receiving() as receiver:
        scene = Scene(tmp_path, receiver)
        scene.look()
        scene.conditions, scene.postgres = [red(UP_GONE)], [red("postgres:unreachable")]
        stop = Event()
        stop.set()
        scene.watch.run(stop, ends_with_up=True)
    assert receiver.titles == [f"fc_pipeline red: {UP_GONE}"]


def test_the_file_is_for_its_user_alone_and_one_that_is_damaged_is_begun_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as receiver:
        scene = Scene(tmp_path, receiver)
        scene.conditions = [red("check:a")]
        scene.look()
    assert stat.S_IMODE(scene.file.path.stat().st_mode) == 0o600
    assert str(receiver.port) not in scene.file.path.read_text()
    assert list(tmp_path.iterdir()) == [scene.file.path]
    json.loads(scene.file.path.read_text())
    scene.file.path.write_text('{"standing": ')
    assert scene.file.read() == Memory()
    assert "told anew" in caplog.text
