"""`usual_volume`, executed on what was folded from a hub that serves all of a type, or every second event of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity, TableMetadataValue

from fc_pipeline.feed.run import RAW_LOG
from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline_tests.support.events import HOUR_UNIX, block, cast_add, link, merge
from fc_pipeline_tests.support.logs import log_of
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

DAYS = 22
LINKS = 170
CASTS = 20
JUDGED = Hour(HOUR_UNIX + DAYS * 86_400 + 12 * 3600)
Serves = Callable[[Hour, int], bool]
"""Whether a hub serves the n-th LINK_ADD of an hour."""


def serves_all(_: Hour, __: int) -> bool:
    return True


def serves_every_second(hour: Hour, place: int) -> bool:
    """From the last hour on that ended."""
    return hour < JUDGED or place % 2 == 0


def _hours() -> list[tuple[Hour, int]]:
    """Three hours of each day, and up to which minute there are blocks: the last hour is at its half."""
    hours = [Hour(HOUR_UNIX + day * 86_400 + hour * 3600) for day in range(DAYS + 1) for hour in (11, 12, 13)]
    return [(hour, 30 if hour > JUDGED else 59) for hour in hours]


@cache
def _log(serves: Serves) -> EventLog:
    lines: list[bytes] = []
    heights = count(1000)
    for number, (hour, last_minute) in enumerate(_hours()):
        links = [merge(link(n + 1, number + 1000)) for n in range(LINKS * last_minute // 59) if serves(hour, n)]
        casts = [merge(cast_add(1, f"{number}.{n}")) for n in range(CASTS * last_minute // 59)]
        lines += block(next(heights), links, unix=hour.start_unix + 1)
        lines += block(next(heights), casts, unix=hour.start_unix + last_minute * 60)
    return log_of(lines)


@contextmanager
def folded(database: Database, folder: Path, serves: Serves) -> Iterator[Pipeline]:
    """All that the hub serves, folded."""
    with serving(_log(serves)) as url, open_pipeline(database, folder, url) as pipeline:
        pipeline.bench.run()
        yield pipeline


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
