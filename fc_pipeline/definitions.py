"""The one code location, `fc_pipeline`: everything that Dagster loads."""

from dagster import Definitions, definitions, in_process_executor

from fc_pipeline.orchestration.assets.closed_hours import CLOSED_HOURS_SPEC
from fc_pipeline.orchestration.assets.hourly import hourly_tables
from fc_pipeline.orchestration.assets.serving import SERVING_SPECS
from fc_pipeline.orchestration.assets.snapshots import fid_tables
from fc_pipeline.orchestration.assets.targets import target_set
from fc_pipeline.orchestration.checks.catalog import ALL_CHECKS
from fc_pipeline.orchestration.healing_job import HEAL_GAPS
from fc_pipeline.orchestration.jobs import MICRO_BATCHES, RUN_CHECKS, SNAPSHOTS, TARGET_SET_JOB
from fc_pipeline.orchestration.key_reading_job import READ_KEYS
from fc_pipeline.orchestration.maintenance import MAINTENANCE
from fc_pipeline.orchestration.quarantine_job import REPLAY_QUARANTINE
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.schedules import close_hour, daily_audit, daily_maintenance, regular_checks
from fc_pipeline.orchestration.sensors.closed_hours import closed_hours_sensor
from fc_pipeline.orchestration.sensors.feed import hub_event_sensor
from fc_pipeline.orchestration.sensors.gaps import gap_sensor
from fc_pipeline.orchestration.sensors.keys import key_sensor
from fc_pipeline.orchestration.sensors.stall import stall_sensor
from fc_pipeline.orchestration.sensors.targets import hourly_targets, target_sensor
from fc_pipeline.orchestration.target_sync_job import SYNC_TARGETS

__all__ = ["build_defs", "defs"]


def build_defs() -> Definitions:
    """Assets, checks, jobs, sensors and schedules, with the replica that they work on."""
    return Definitions(
        assets=[hourly_tables, fid_tables, target_set, CLOSED_HOURS_SPEC, *SERVING_SPECS],
        asset_checks=ALL_CHECKS,
        jobs=[
            MICRO_BATCHES,
            SNAPSHOTS,
            HEAL_GAPS,
            SYNC_TARGETS,
            TARGET_SET_JOB,
            RUN_CHECKS,
            MAINTENANCE,
            REPLAY_QUARANTINE,
            READ_KEYS,
        ],
        sensors=[hub_event_sensor, gap_sensor, key_sensor, target_sensor, stall_sensor, closed_hours_sensor],
        schedules=[close_hour, daily_audit, hourly_targets, daily_maintenance, regular_checks],
        resources={"replica": ReplicaResource()},
        executor=in_process_executor,
    )


@definitions
def defs() -> Definitions:
    """What Dagster loads."""
    return build_defs()
