"""Replaying the quarantine as Dagster's job: the tables that got rows say so."""

import pytest
from dagster import AssetKey

from fc_pipeline.orchestration.quarantine_job import fold_quarantined
from fc_pipeline_tests.support.forgetting import forget_values
from fc_pipeline_tests.support.pipeline import SAMPLE_HOURS, Pipeline, defs


@pytest.mark.slow
def test_a_replay_is_a_run_and_each_table_has_an_observation(pipeline: Pipeline) -> None:
    hour = SAMPLE_HOURS[0]
    with pytest.MonkeyPatch.context() as patch:
        forget_values(patch)
        pipeline.materialize(hour=hour)
    metadata = pipeline.record("hub_events", hour).asset_materialization
    assert metadata is not None
    values = {name: value.value for name, value in metadata.metadata.items()}
    assert values["events_unaccounted"] == 0
    assert values["events_quarantined"] > 100
    parts = ("written", "unchanged", "without_rows", "filtered", "quarantined")
    assert values["events"] == sum(values[f"events_{part}"] for part in parts)

    result = defs.resolve_job_def("replay_quarantine").execute_in_process(instance=pipeline.instance)
    assert result.success
    outcome = result.output_for_node(fold_quarantined.name)
    assert outcome["resolved"] > 100
    assert outcome["hours"] == [hour.key]
    (seen,) = pipeline.instance.fetch_observations(AssetKey("reactions"), limit=10).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.metadata["rows_inserted"].value > 0
