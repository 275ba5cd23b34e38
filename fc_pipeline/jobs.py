"""The jobs: micro-batches over hours."""

from dagster import AssetSelection, define_asset_job

from fc_pipeline.assets.hourly import hourly_tables

__all__ = ["MICRO_BATCHES"]

MICRO_BATCHES = define_asset_job(
    "micro_batches",
    selection=AssetSelection.assets(hourly_tables),
    description="Read the hub's feed into the raw log, fold it into the tables, check the result; by hour.",
)
