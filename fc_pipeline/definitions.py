"""The one code location, `fc_pipeline`: everything that Dagster loads."""

from dagster import Definitions, in_process_executor

from fc_pipeline.assets.hourly import hourly_tables
from fc_pipeline.assets.snapshots import fid_tables
from fc_pipeline.assets.targets import target_set
from fc_pipeline.checks.catalog import ALL_CHECKS
from fc_pipeline.gap_watch import gap_sensor
from fc_pipeline.jobs import MICRO_BATCHES, RUN_CHECKS, SNAPSHOTS, TARGET_SET_JOB
from fc_pipeline.maintenance import MAINTENANCE
from fc_pipeline.quarantine_job import REPLAY_QUARANTINE
from fc_pipeline.resources import ReplicaResource
from fc_pipeline.schedules import close_hour, daily_audit, daily_maintenance, regular_checks
from fc_pipeline.sensors import hub_event_sensor
from fc_pipeline.target_watch import hourly_targets, target_sensor
from fc_pipeline.watch import standstill_sensor

__all__ = ["defs"]

defs = Definitions(
    assets=[hourly_tables, fid_tables, target_set],
    asset_checks=ALL_CHECKS,
    jobs=[MICRO_BATCHES, SNAPSHOTS, TARGET_SET_JOB, RUN_CHECKS, MAINTENANCE, REPLAY_QUARANTINE],
    sensors=[hub_event_sensor, gap_sensor, target_sensor, standstill_sensor],
    schedules=[close_hour, daily_audit, hourly_targets, daily_maintenance, regular_checks],
    resources={"replica": ReplicaResource()},
    executor=in_process_executor,
)
