"""What `up` says of who leads, where several share a Postgres: with real locks, and hubs of two networks."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from rich.console import Console

from fc_pipeline.cli import lead
from fc_pipeline.cli.lead import Lead, refuse_to_lead_alone
from fc_pipeline.config.project import project_root
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ConfigError
from fc_pipeline.orchestration.instance.instances import leader_lock, new_instance, present
from fc_pipeline.orchestration.servers.dagster import DagsterProcesses
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store.session_lock import SessionLock
from fc_pipeline_tests.support.networks import generated_network, log_of
from fc_pipeline_tests.support.pipeline import open_pipeline
from fc_pipeline_tests.support.postgres import Database


class Scene:
    """An `up` that looks, and another one that may live and lead."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.dagster = DagsterProcesses(project_root(), settings.model_copy(update={"data_dir": folder / "own"}))
        self.other = new_instance(folder / "other")
        self._output = io.StringIO()
        self._lead = Lead(Console(file=self._output), self.dagster)
        self._read = 0

    def lock(self, *, of_other: bool) -> SessionLock:
        taken = leader_lock(self.settings, self.other if of_other else self.dagster.instance)
        assert taken.try_take()
        return taken

    def said(self) -> str:
        """What is said at two looks."""
        self._lead.announce()
        self._lead.announce()
        text = self._output.getvalue()[self._read :]
        self._read += len(text)
        assert text.count("\n") <= 1
        return text.strip()


@pytest.fixture
def scene(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The replica has read a network; the hub of the `up` is of that one."""
    monkeypatch.setattr(lead, "POLL_SECONDS", 0.0)
    with serving(log_of(generated_network(5))) as url, open_pipeline(database, tmp_path / "data", url) as pipeline:
        pipeline.bench.run()
        yield Scene(pipeline.bench.replica.settings, tmp_path)


@pytest.fixture
def stranger(scene: Scene, tmp_path: Path) -> Iterator[Scene]:
    """The same where the hub of the `up` is of another network."""
    with serving(log_of(generated_network(6))) as url:
        yield Scene(scene.settings.model_copy(update={"hub_urls": (url,)}), tmp_path)


def test_who_leads_alone_says_nothing(scene: Scene):
    taken = scene.lock(of_other=False)
    assert scene.said() == ""
    taken.release()
    assert scene.said() == ""


def test_an_end_is_told_from_a_session_that_was_cut(scene: Scene):
    with ExitStack() as alive:
        alive.enter_context(present(scene.settings, scene.other))
        taken = scene.lock(of_other=True)
        said = scene.said()
        assert said.startswith("another `up` on this Postgres does the work (")
        assert said.endswith("this one shows it; it takes over at its end")
        taken.release()
        assert scene.said() == ""  # nobody leads for a moment
        own = scene.lock(of_other=False)
        said = scene.said()
        assert said.startswith("this one does the work now: the other `up` (")
        assert "lives, but has lost the lead: its session to Postgres was cut" in said
        assert "has ended" not in said
        own.release()
        taken = scene.lock(of_other=True)
        assert "another `up` on this Postgres does the work" in scene.said()
        taken.release()
    own = scene.lock(of_other=False)
    said = scene.said()
    assert said.startswith("this one does the work now: the other `up` (")
    assert said.endswith("has ended, or does not reach Postgres any more")
    own.release()


def test_one_whose_hub_is_of_another_network_says_that_it_cannot_take_over(stranger: Scene):
    taken = stranger.lock(of_other=True)
    refuse_to_lead_alone(stranger.settings)  # it may show what the other one does
    said = stranger.said()
    assert "this one shows it; it cannot take over: hub" in said
    assert "has another history" in said
    assert "wait" not in said
    taken.release()
    said = stranger.said()
    assert said.startswith("nobody does the work now: the other `up` (")
    assert "it cannot take over: hub" in said
    assert stranger.said() == ""  # once
    with pytest.raises(ConfigError, match="has another history") as caught:
        refuse_to_lead_alone(stranger.settings)
    assert "FC_HUB_URLS" in (caught.value.hint or "")


def test_one_of_the_right_network_may_lead_alone(scene: Scene):
    refuse_to_lead_alone(scene.settings)
