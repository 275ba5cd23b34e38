"""The jobs: micro-batches over hours."""

from dagster import AssetSelection, define_asset_job

from fc_pipeline.assets.hourly import hourly_tables

__all__ = ["MICRO_BATCHES"]

MICRO_BATCHES = define_asset_job(
    "micro_batches",
    # A run judges the hours that it touched by itself (checks.evaluation).
    selection=AssetSelection.assets(hourly_tables).without_checks(),
    description="Read the hub's feed into the raw log, fold it into the tables, check the result; by hour.",
)
