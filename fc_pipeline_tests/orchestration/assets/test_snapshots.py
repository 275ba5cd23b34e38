"""Buckets of users, materialised through Dagster on a real instance: fetched, folded, and reported per bucket."""

from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, AssetRecordsFilter, BackfillPolicy, ExecuteInProcessResult, RunConfig
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    BACKFILL_ID_TAG,
)

from fc_pipeline.backfill.round_plan import BUCKETS_PER_RUN
from fc_pipeline.lake.snapshot_log import BUCKETS
from fc_pipeline.orchestration.assets.snapshots import BackfillConfig, fid_tables
from fc_pipeline_tests.support.pipeline import Pipeline, defs, failure, open_pipeline, sample_hub
from fc_pipeline_tests.support.postgres import Database


def materialize(
    pipeline: Pipeline,
    *assets: str,
    first: str,
    last: str,
    fids: list[int] | None = None,
    raise_on_error: bool = True,
    tags: dict[str, str] | None = None,
) -> ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=pipeline.instance,
        asset_selection=[AssetKey(asset) for asset in assets],
        tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last, **(tags or {})},
        run_config=RunConfig(ops={fid_tables.op.name: BackfillConfig(fids=fids)}),
        raise_on_error=raise_on_error,
    )


def metadata(pipeline: Pipeline, asset: str, bucket: str) -> dict[str, Any]:
    wanted = AssetRecordsFilter(AssetKey(asset), asset_partitions=[bucket])
    materialization = pipeline.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
    assert materialization is not None
    return {name: entry.value for name, entry in materialization.metadata.items()}


def buckets_of(pipeline: Pipeline, asset: str) -> set[str]:
    return pipeline.instance.get_materialized_partitions(AssetKey(asset))


@pytest.fixture
def pipeline(database: Database, tmp_path: Path):
    with sample_hub() as url, open_pipeline(database, tmp_path, url) as opened:
        yield opened


@pytest.mark.slow
def test_a_range_of_buckets_is_fetched_then_folded_then_both(pipeline: Pipeline):
    assert materialize(pipeline, "fid_snapshots", first="002", last="004").success
    assert buckets_of(pipeline, "fid_snapshots") == {"002", "003", "004"}
    assert buckets_of(pipeline, "reconciled_fids") == set()
    fetched = metadata(pipeline, "fid_snapshots", "003")
    assert fetched["fids_fetched"] == len(pipeline.bench.rows("SELECT 1 FROM pipeline.snapshots WHERE bucket = 3")) > 0
    assert fetched["requests"] >= 6 * fetched["fids_fetched"]
    assert fetched["unread_fids"] == 0
    assert not pipeline.tables()["casts"]

    assert materialize(pipeline, "reconciled_fids", first="002", last="004").success
    folded = metadata(pipeline, "reconciled_fids", "004")
    assert (folded["drift_rows"], folded["run_fids_left"]) == (0, 0)
    assert folded["run_messages_folded"] > 0
    assert {row.fid % 256 for row in pipeline.bench.rows("SELECT fid FROM casts")} <= {2, 3, 4}
    before = pipeline.tables()

    assert materialize(pipeline, "fid_snapshots", "reconciled_fids", first="002", last="004").success
    assert metadata(pipeline, "reconciled_fids", "003")["drift_rows"] == 0
    assert pipeline.tables() == before

    assert materialize(pipeline, "reconciled_fids", "gasless_keys", first="003", last="003").success
    rows = len(pipeline.bench.rows("SELECT FROM gasless_keys"))
    assert metadata(pipeline, "gasless_keys", "003")["dagster/row_count"] == rows


def test_chosen_users_leave_the_other_buckets_of_the_range_alone(pipeline: Pipeline):
    assert materialize(pipeline, "fid_snapshots", "reconciled_fids", first="003", last="007", fids=[3, 7]).success
    assert buckets_of(pipeline, "fid_snapshots") == buckets_of(pipeline, "reconciled_fids") == {"003", "007"}
    assert {row.fid for row in pipeline.bench.rows("SELECT fid FROM pipeline.snapshots")} == {3, 7}


def test_folding_what_the_lake_does_not_have_says_what_to_do(pipeline: Pipeline):
    failed = materialize(pipeline, "reconciled_fids", first="003", last="003", raise_on_error=False)
    assert not failed.success
    assert "materialise fid_snapshots" in failure(failed)


def test_a_backfill_of_all_buckets_is_several_runs() -> None:
    policies = {fid_tables.backfill_policy}
    assert policies == {BackfillPolicy.multi_run(max_partitions_per_run=BUCKETS_PER_RUN)}
    assert BUCKETS % BUCKETS_PER_RUN == 0
    assert BUCKETS > BUCKETS_PER_RUN


@pytest.mark.slow
def test_runs_of_one_backfill_share_a_list_of_users_and_others_take_their_own(pipeline: Pipeline) -> None:
    tags = {BACKFILL_ID_TAG: "abcdefgh"}
    for first, last in (("002", "003"), ("004", "005")):
        assert materialize(pipeline, "fid_snapshots", first=first, last=last, tags=tags).success
    assert pipeline.bench.rows("SELECT name FROM pipeline.fid_listings") == [("abcdefgh",)]
    assert materialize(pipeline, "fid_snapshots", first="006", last="006").success
    assert len(pipeline.bench.rows("SELECT name FROM pipeline.fid_listings")) == 2
    assert {row.bucket for row in pipeline.bench.rows("SELECT bucket FROM pipeline.snapshots")} == {2, 3, 4, 5, 6}
