"""`counts_exact` and `threads_exact`: green on a sound replica, red after damage, green again after their remedy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dagster import AssetCheckEvaluation, AssetCheckSeverity, TableMetadataValue

from fc_pipeline.backfill.run import Backfill
from fc_pipeline.backfill.scope import BackfillScope
from fc_pipeline.orchestration.checks.counts import COUNTS_EXACT, THREADS_EXACT
from fc_pipeline.sample_hub.log import log_from_lines
from fc_pipeline.sample_hub.serving import serving
from fc_pipeline.store import later_indexes
from fc_pipeline.store.schema import ensure_schema
from fc_pipeline_tests.support.pipeline import Pipeline, open_pipeline
from fc_pipeline_tests.support.postgres import Database

CHECKS = {"cast_counts": COUNTS_EXACT, "user_counts": COUNTS_EXACT, "cast_threads": THREADS_EXACT}
DAMAGE = {
    "cast_counts": "UPDATE cast_counts SET likes = likes + 3 WHERE hash = (SELECT k.hash FROM cast_counts k "
    "JOIN casts c USING (hash) WHERE c.deleted_at IS NULL ORDER BY k.hash LIMIT 1)",
    "user_counts": "DELETE FROM user_counts WHERE fid = (SELECT min(fid) FROM user_counts WHERE casts > 0)",
    "cast_threads": "UPDATE cast_threads SET depth = depth + 1 WHERE hash = (SELECT min(hash) FROM cast_threads)",
}


@pytest.fixture
def filled(database: Database, lake: Path, lines: list[bytes]) -> Iterator[Pipeline]:
    with serving(log_from_lines(lines)) as url, open_pipeline(database, lake.parent, url) as opened:
        opened.bench.run()
        later_indexes.make(opened.bench.replica.engine)
        yield opened


def evaluated(pipeline: Pipeline, asset: str) -> AssetCheckEvaluation:
    (evaluation,) = pipeline.evaluate(asset, CHECKS[asset]).get_asset_check_evaluations()
    return evaluation


def wrong_keys(evaluation: AssetCheckEvaluation) -> list[dict[str, Any]]:
    value = evaluation.metadata["wrong"]
    assert isinstance(value, TableMetadataValue)
    return [dict(record.data) for record in value.records]


def execute(pipeline: Pipeline, *statements: str) -> None:
    with pipeline.bench.replica.engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def backfill(pipeline: Pipeline, fids: list[int]) -> None:
    Backfill(pipeline.bench.replica, "remedy", BackfillScope.of_fids(fids)).execute()


@pytest.mark.parametrize("asset", CHECKS)
def test_damage_is_red_with_the_users_and_green_after_they_are_compared(filled: Pipeline, asset: str) -> None:
    sound = evaluated(filled, asset)
    assert sound.passed
    assert sound.metadata["keys_compared"].value > 50
    before = filled.bench.dump(asset)
    execute(filled, DAMAGE[asset])
    assert filled.bench.dump(asset) != before
    red = evaluated(filled, asset)
    assert (red.passed, red.severity) == (False, AssetCheckSeverity.ERROR)
    (line,) = wrong_keys(red)
    assert f"backfill --fids {line['fid']}" in (red.description or "")
    for _ in range(2):  # as docs/checks.md says of users who were never compared before
        backfill(filled, [line["fid"]])
    assert evaluated(filled, asset).passed


def test_how_much_a_count_lacks_is_told(filled: Pipeline) -> None:
    execute(filled, DAMAGE["cast_counts"])
    (line,) = wrong_keys(evaluated(filled, "cast_counts"))
    assert (line["likes"], line["recasts"], line["replies"], line["quotes"]) == (-3, 0, 0, 0)


def test_what_is_written_while_triggers_are_off_is_found_and_mended_by_dropping_the_tables(filled: Pipeline) -> None:
    one = "SELECT hash FROM casts c WHERE parent_hash IS NOT NULL AND deleted_at IS NULL ORDER BY hash LIMIT 1"
    execute(
        filled,
        "SET LOCAL session_replication_role = replica",
        f"UPDATE casts SET parent_hash = '\\x00', parent_fid = 1 WHERE hash = ({one})",
    )
    assert not evaluated(filled, "cast_counts").passed
    assert not evaluated(filled, "cast_threads").passed
    execute(filled, *(f"DROP TABLE {name} CASCADE" for name in CHECKS))
    ensure_schema(filled.bench.replica.engine)
    assert all(evaluated(filled, asset).passed for asset in CHECKS)
