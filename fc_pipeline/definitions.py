"""What Dagster loads: the one code location `fc_pipeline`, and copies for somebody else's definitions."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from dagster import Definitions, definitions, in_process_executor

from fc_pipeline.errors import ConfigError
from fc_pipeline.orchestration.assets.closed_hours import CLOSED_HOURS_SPEC
from fc_pipeline.orchestration.assets.hourly import hourly_tables
from fc_pipeline.orchestration.assets.serving import SERVING_SPECS
from fc_pipeline.orchestration.assets.snapshots import fid_tables
from fc_pipeline.orchestration.assets.targets import target_set
from fc_pipeline.orchestration.bootstrap_job import BOOTSTRAP
from fc_pipeline.orchestration.checks.catalog import ALL_CHECKS
from fc_pipeline.orchestration.copies import Labels, copy_of
from fc_pipeline.orchestration.difference_job import HEAL_DIFFERENCES
from fc_pipeline.orchestration.healing_job import HEAL_GAPS
from fc_pipeline.orchestration.index_job import MAKE_INDEXES
from fc_pipeline.orchestration.jobs import MICRO_BATCHES, PROOFS, RUN_CHECKS, SNAPSHOTS, TARGET_SET_JOB
from fc_pipeline.orchestration.key_reading_job import READ_KEYS
from fc_pipeline.orchestration.maintenance import MAINTENANCE
from fc_pipeline.orchestration.partitions import load_hours_of_copy
from fc_pipeline.orchestration.quarantine_job import REPLAY_QUARANTINE
from fc_pipeline.orchestration.resources import ReplicaResource
from fc_pipeline.orchestration.schedules import (
    close_hour,
    daily_audit,
    daily_maintenance,
    hourly_proofs,
    regular_checks,
)
from fc_pipeline.orchestration.sensors.closed_hours import closed_hours_sensor
from fc_pipeline.orchestration.sensors.differences import difference_sensor
from fc_pipeline.orchestration.sensors.feed import hub_event_sensor
from fc_pipeline.orchestration.sensors.gaps import gap_sensor
from fc_pipeline.orchestration.sensors.indexes import index_sensor
from fc_pipeline.orchestration.sensors.keys import key_sensor
from fc_pipeline.orchestration.sensors.stall import stall_sensor
from fc_pipeline.orchestration.sensors.targets import hourly_targets, target_sensor
from fc_pipeline.orchestration.target_sync_job import SYNC_TARGETS

__all__ = ["build_defs", "defs"]


_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_POOL: Final = re.compile(r"\S+")
"""As Dagster has it."""


def build_defs(
    *,
    key_prefix: str | Sequence[str] = (),
    group_prefix: str | None = None,
    tags: Mapping[str, str] | None = None,
    owners: Sequence[str] | None = None,
    resources: Mapping[str, ReplicaResource] | None = None,
    hub_pool: str | None = None,
) -> Definitions:
    """Assets, checks, jobs, sensors and schedules, with the replica that they work on.

    With arguments it is a copy that can be merged with other definitions, other copies among them.

    Args:
        key_prefix: what the keys of its assets begin with. The names of jobs, sensors, schedules, ops and of the
            resource begin with its parts, joined by `_`.
        group_prefix: what the names of its groups begin with, followed by `_`.
        tags: tags of its assets, and of the runs of its jobs.
        owners: owners of its assets, in place of `team:fc_pipeline`.
        resources: `{"replica": ReplicaResource(settings={"FC_POSTGRES_URL": …})}`: the replica that it works on.
            Default: that of the environment. Two copies need two databases and two lakes.
        hub_pool: the concurrency pool of the steps that ask the hub for many users, such as one of several copies that
            read one hub. Default: `fc_hub`, with the prefix before it.

    Raises:
        ConfigError: an argument is none of the above.
    """
    prefix = (key_prefix,) if isinstance(key_prefix, str) else tuple(key_prefix)
    for name in (*prefix, *((group_prefix,) if group_prefix is not None else ())):
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{name!r} is no prefix of names", hint="expected: letters, digits and _, such as 'acme'")
    given = dict(resources or {})
    replica = given.pop("replica", None) or ReplicaResource()
    if given:
        raise ConfigError(f"unknown resources: {', '.join(given)}", hint="expected: none but 'replica'")
    if hub_pool is not None and not _POOL.fullmatch(hub_pool):
        raise ConfigError(f"{hub_pool!r} is no pool's name", hint="expected: a name without spaces, such as 'acme_hub'")
    if not (prefix or group_prefix or tags or owners or resources or hub_pool):
        return _declared()
    replica = ReplicaResource(settings=replica.settings, key_prefix=list(prefix))
    load_hours_of_copy(replica.names, replica.load_settings)
    return copy_of(_declared(), replica, Labels(group_prefix, tags or {}, owners, hub_pool))


def _declared() -> Definitions:
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
            PROOFS,
            HEAL_DIFFERENCES,
            MAINTENANCE,
            REPLAY_QUARANTINE,
            READ_KEYS,
            MAKE_INDEXES,
            BOOTSTRAP,
        ],
        sensors=[
            hub_event_sensor,
            gap_sensor,
            difference_sensor,
            key_sensor,
            target_sensor,
            stall_sensor,
            closed_hours_sensor,
            index_sensor,
        ],
        schedules=[close_hour, daily_audit, hourly_targets, daily_maintenance, regular_checks, hourly_proofs],
        resources={"replica": ReplicaResource()},
        executor=in_process_executor,
    )


@definitions
def defs() -> Definitions:
    """What Dagster loads."""
    return build_defs()
