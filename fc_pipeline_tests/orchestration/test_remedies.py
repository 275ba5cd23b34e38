"""Remedies of a copy name what is there: its own assets, sensors and jobs."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import AssetSelection

from fc_pipeline import ReplicaResource, build_defs
from fc_pipeline.config.settings import Settings
from fc_pipeline.orchestration.checks.evaluation import evaluation_of
from fc_pipeline.orchestration.checks.rows import evaluate_rows
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.remedies import remedy_in
from fc_pipeline.replica import open_replica
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import Database

ACME = Names(("farcaster", "acme"))


@pytest.mark.parametrize(
    ("declared", "own"),
    [
        (
            "3 rows are wrong. Remedy: bin/dagster asset materialize -m fc_pipeline.definitions --select casts "
            "--partition 2026-11-01-10:00",
            "3 rows are wrong. Remedy: bin/dagster asset materialize -m YOUR_DEFINITIONS --select farcaster/acme/casts "
            "--partition 2026-11-01-10:00",
        ),
        ("materialise hub_events for the hours named", "materialise farcaster/acme/hub_events for the hours named"),
        (
            "gap_sensor has them healed; by hand: .venv/bin/fc-pipeline backfill --gaps. Then",
            "farcaster_acme_gap_sensor has them healed; by hand: run the job farcaster_acme_heal_gaps. Then",
        ),
        ("then `fc-pipeline quarantine replay`.", "then run the job farcaster_acme_replay_quarantine."),
        (
            "`.venv/bin/fc-pipeline sync`: at once",
            "`.venv/bin/fc-pipeline sync`: at once (fc-pipeline works in a folder of `fc-pipeline init` whose .env has "
            "the settings of farcaster/acme)",
        ),
        ("upgrade fc_pipeline; pipeline.gaps has them", "upgrade fc_pipeline; pipeline.gaps has them"),
    ],
)
def test_they_are_in_the_words_of_the_copy(declared: str, own: str):
    assert remedy_in(ACME, declared) == own
    assert remedy_in(ACME, own) == own
    assert remedy_in(Names(), declared) == declared


def test_every_check_of_a_copy_names_only_what_it_has():
    copied = build_defs(key_prefix=["farcaster", "acme"])
    repository = copied.get_repository_def()
    own = {
        *(job.name for job in repository.get_all_jobs()),
        *(sensor.name for sensor in repository.sensor_defs),
    }
    declared = build_defs().get_repository_def()
    others = {*(job.name for job in declared.get_all_jobs()), *(sensor.name for sensor in declared.sensor_defs)} - own
    names = re.compile(rf"(?<![\w./])({'|'.join(others)})\b(?!\.)")
    graph = copied.resolve_asset_graph()
    for key in graph.asset_check_keys:
        description = graph.get(key).description or ""
        _, _, remedy = description.partition("If not: ")
        assert not [name for name in names.findall(remedy) if name not in ("snapshots", "maintenance")], description
        for asset in re.findall(r"[Mm]aterialise (\S+)", remedy):
            assert AssetSelection.from_string(asset).resolve(graph), description


@pytest.fixture
def pipeline(database: Database, tmp_path: Path):
    with sample_hub() as url, open_pipeline(database, tmp_path, url) as opened:
        yield opened


@pytest.mark.slow
def test_a_red_check_and_a_failed_run_of_a_copy_name_its_assets(pipeline: Pipeline):
    settings = {name: value for name, value in pipeline.environment.items() if name.startswith("FC_")}
    copied = build_defs(key_prefix="acme", resources={"replica": ReplicaResource(settings=settings)})
    job = copied.resolve_implicit_global_asset_job_def()
    graph = copied.resolve_asset_graph()

    def run(asset: str, *, raise_on_error: bool = True):
        (key,) = AssetSelection.from_string(asset).resolve(graph)
        return job.execute_in_process(
            instance=pipeline.instance,
            asset_selection=[key],
            partition_key=SAMPLE_HOURS[0].key,
            raise_on_error=raise_on_error,
        )

    failed = run("acme/casts", raise_on_error=False)
    (step,) = failed.get_step_failure_events()
    assert "materialise acme/hub_events" in str(step.step_failure_data.user_failure_data)
    pipeline.materialize(hour=SAMPLE_HOURS[0])
    with pipeline.bench.replica.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM casts"))
    with open_replica(Settings.load(dotenv=None)) as replica:
        (red,) = evaluate_rows(replica, ["casts"])
    description = evaluation_of(red, Names(("acme",))).description or ""
    selected = re.search(r"--select (\S+) --partition", description)
    assert selected is not None, description
    assert run(selected[1]).success
    assert pipeline.bench.rows("SELECT 1 FROM casts")
