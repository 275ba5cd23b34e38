"""`usual_volume`, executed on what was folded from a hub that serves all of a type, or every second event of it."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity, TableMetadataValue

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline_tests.support.pipeline import Pipeline
from fc_pipeline_tests.support.postgres import Database
from fc_pipeline_tests.support.served_in_part import JUDGED, folded, serves_all, serves_every_second


def evaluated(pipeline: Pipeline) -> AssetCheckEvaluation:
    (evaluation,) = pipeline.evaluate(RAW_LOG, "usual_volume").get_asset_check_evaluations()
    return evaluation


def rows(evaluation: AssetCheckEvaluation) -> list[dict[str, object]]:
    value = evaluation.metadata["types"]
    assert isinstance(value, TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_every_second_event_of_a_type_missing_is_red_and_says_which(database: Database, tmp_path: Path):
    with folded(database, tmp_path, serves_every_second) as pipeline:
        evaluation = evaluated(pipeline)
        assert not evaluation.passed
        assert evaluation.severity == AssetCheckSeverity.ERROR
        described = evaluation.description or ""
        expected = f"LINK_ADD of {JUDGED.key}: 85 events, where 170 are usual at this hour of the week. Remedy: "
        assert described.startswith(expected)
        assert "verify --sample 1000" in described
        assert "docs/checks.md#usual_volume" in described
        assert rows(evaluation)[0] == {
            "hour": JUDGED.key,
            "minutes": 60,
            "type": "LINK_ADD",
            "events": 85,
            "usual": 170,
            "compared_with": "hours of the week",
            "level": "halved",
        }


def test_a_hub_that_serves_all_is_green_and_a_hole_stops_the_comparison(database: Database, tmp_path: Path):
    with folded(database, tmp_path, serves_all) as pipeline:
        evaluation = evaluated(pipeline)
        assert evaluation.passed
        assert {(row["hour"], row["minutes"], row["type"], row["events"]) for row in rows(evaluation)} == {
            (JUDGED.key, 60, "LINK_ADD", 170),
            (JUDGED.key, 60, "CAST_ADD", 20),
            (JUDGED.next.key, 30, "LINK_ADD", 86),
            (JUDGED.next.key, 30, "CAST_ADD", 10),
        }
        with pipeline.bench.replica.engine.begin() as connection:
            cut = sa.text("UPDATE pipeline.coverage SET to_height = to_height - 1 WHERE partition = :hour")
            assert connection.execute(cut, {"hour": JUDGED.key}).rowcount == 1
        evaluation = evaluated(pipeline)
        assert evaluation.passed
        assert rows(evaluation) == []
        assert (evaluation.description or "").startswith("nothing is compared: the newest hours are not in the ledger")


@pytest.mark.parametrize(
    ("kept", "learnt"),
    [
        (f"partition >= '{Hour(JUDGED.start_unix - 4 * 86_400 - 3600).key}'", "hours of the day"),
        (f"partition >= '{Hour(JUDGED.start_unix - 3 * 86_400 - 3600).key}'", None),
    ],
)
def test_without_weeks_days_are_compared_and_without_days_nothing(
    database: Database, tmp_path: Path, kept: str, learnt: str | None
):
    """As of a release that does not count types, which folded all that is older."""
    with folded(database, tmp_path, serves_every_second) as pipeline:
        with pipeline.bench.replica.engine.begin() as connection:
            connection.execute(sa.text(f"DELETE FROM pipeline.hour_events WHERE NOT {kept}"))
        evaluation = evaluated(pipeline)
        if learnt is None:
            assert evaluation.passed
            assert (evaluation.description or "").startswith("nothing is compared yet")
        else:
            assert {row["compared_with"] for row in rows(evaluation)} == {learnt}
