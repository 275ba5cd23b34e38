"""A copy of the pipeline for somebody else's definitions: every asset, check, job, sensor and schedule under a prefix.

Everything is declared once, in the modules of this package. A copy has the same functions under other names, each with
the copy's own resource; how they call what they report and look for follows from that resource (`Names`).
"""

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, cast

from dagster import (
    AssetCheckKey,
    AssetCheckResult,
    AssetChecksDefinition,
    AssetCheckSpec,
    AssetDep,
    AssetsDefinition,
    AssetSelection,
    AssetSpec,
    Definitions,
    Failure,
    JobDefinition,
    OpDefinition,
    ScheduleDefinition,
    SensorDefinition,
    define_asset_job,
    in_process_executor,
    job,
    multi_asset,
    multi_asset_check,
    op,
    schedule,
    sensor,
)
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction
from dagster._core.definitions.schedule_definition import DecoratedScheduleFunction
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster_shared.record import replace

from fc_pipeline.orchestration.failures import TickFailed, remedied
from fc_pipeline.orchestration.names import Names
from fc_pipeline.orchestration.partitions import HOURS, hours_of_copy
from fc_pipeline.orchestration.remedies import remedy_in
from fc_pipeline.orchestration.resources import ReplicaResource

__all__ = ["Labels", "copy_of"]

_RESOURCE: Final = "replica"
_TABLE_NAME: Final = "dagster/table_name"
_Job = JobDefinition | UnresolvedAssetJobDefinition
_Function = Callable[..., Any]


@dataclass(frozen=True)
class Labels:
    """What else distinguishes a copy: a prefix of its groups, tags of its assets and runs, its assets' owners.

    Copies that read one hub may have a pool in common: `hub_pool`, in place of one of their own.
    """

    group_prefix: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    owners: Sequence[str] | None = None
    hub_pool: str | None = None


def copy_of(declared: Definitions, replica: ReplicaResource, labels: Labels) -> Definitions:
    """The declared definitions under the names of the replica's `key_prefix`, working on this replica alone.

    Its jobs name their executor, so that it can be merged with definitions that have another one.
    """
    return _Copy(declared, replica, labels).build()


@dataclass(frozen=True)
class _Copy:
    declared: Definitions
    replica: ReplicaResource
    labels: Labels

    @property
    def names(self) -> Names:
        return self.replica.names

    def build(self) -> Definitions:
        jobs = {one.name: self._job(one) for one in self.declared.jobs or ()}
        return Definitions(
            assets=[self._asset(one) for one in self.declared.assets or ()],
            asset_checks=[self._checks(cast(AssetChecksDefinition, one)) for one in self.declared.asset_checks or ()],
            jobs=list(jobs.values()),
            sensors=[self._sensor(one, jobs) for one in self.declared.sensors or ()],
            schedules=[self._schedule(cast(ScheduleDefinition, one), jobs) for one in self.declared.schedules or ()],
            resources={self.names.of(_RESOURCE): self.replica},
        )

    def _asset(self, one: object) -> AssetsDefinition | AssetSpec:
        if isinstance(one, AssetSpec):
            return self._spec(one)
        if not isinstance(one, AssetsDefinition):
            raise TypeError(f"{one!r} is neither an asset nor a spec")
        (partitions,) = {spec.partitions_def for spec in one.specs}
        return multi_asset(
            name=self.names.of(one.op.name),
            specs=[self._spec(spec) for spec in one.specs],
            partitions_def=hours_of_copy(self.names) if partitions == HOURS else partitions,
            can_subset=one.can_subset,
            backfill_policy=one.backfill_policy,
            pool=self._pool(one.op),
        )(self._function(one.op))

    def _spec(self, spec: AssetSpec) -> AssetSpec:
        prefix = self.labels.group_prefix
        return spec.replace_attributes(
            key=self.names.key(spec.key),
            deps=[
                AssetDep(self.names.key(dep.asset_key), partition_mapping=dep.partition_mapping) for dep in spec.deps
            ],
            group_name=f"{prefix}_{spec.group_name}" if prefix else spec.group_name,
            owners=self.labels.owners or spec.owners,
            metadata={**spec.metadata, **self._table_name(spec)},
            tags={**spec.tags, **self.labels.tags},
            partitions_def=hours_of_copy(self.names) if spec.partitions_def == HOURS else spec.partitions_def,
        )

    def _table_name(self, spec: AssetSpec) -> dict[str, str]:
        """With the copy's name where a database's stands: by it Dagster takes assets for one and the same table."""
        declared = spec.metadata.get(_TABLE_NAME)
        copy = "_".join(self.names.key_prefix)
        return {_TABLE_NAME: f"{copy}.{declared}"} if declared is not None and copy else {}

    def _checks(self, one: AssetChecksDefinition) -> AssetChecksDefinition:
        return multi_asset_check(
            name=self.names.of(one.op.name),
            specs=[self._check_spec(spec) for spec in one.check_specs],
            can_subset=one.can_subset,
        )(self._function(one.op))

    def _check_spec(self, spec: AssetCheckSpec) -> AssetCheckSpec:
        told = remedy_in(self.names, spec.description or "")
        return replace(spec.replace_key(self._check_key(spec.key)), description=told)

    def _check_key(self, key: AssetCheckKey) -> AssetCheckKey:
        return AssetCheckKey(self.names.key(key.asset_key), key.name)

    def _job(self, one: _Job) -> _Job:
        name, tags = self.names.of(one.name), {**(one.tags or {}), **self.labels.tags}
        if isinstance(one, UnresolvedAssetJobDefinition):
            return define_asset_job(
                name,
                selection=self._selection(one.selection),
                tags=tags,
                description=one.description,
                executor_def=in_process_executor,
            )
        ops = [self._op(node) for node in one.graph.node_defs if isinstance(node, OpDefinition)]

        @job(name=name, tags=tags, description=one.description, executor_def=in_process_executor)
        def copied() -> None:
            for each in ops:
                each()

        return copied

    def _selection(self, selection: AssetSelection) -> AssetSelection:
        """By name: what the declared one selects of the declared assets, and nothing of another copy."""
        graph = self.declared.resolve_asset_graph()
        keys = [self.names.key(key) for key in selection.resolve(graph)]
        checks = [self._check_key(key) for key in selection.resolve_checks(graph)]
        return AssetSelection.assets(*keys).without_checks() | AssetSelection.checks(*checks)

    def _op(self, one: OpDefinition) -> OpDefinition:
        return op(name=self.names.of(one.name), description=one.description, pool=self._pool(one))(self._function(one))

    def _pool(self, one: OpDefinition) -> str | None:
        return (self.labels.hub_pool or self.names.of(one.pool)) if one.pool else None

    def _sensor(self, one: SensorDefinition, jobs: Mapping[str, _Job]) -> SensorDefinition:
        launched = one.job_name if one.has_jobs else None
        return sensor(
            name=self.names.of(one.name),
            job=jobs[launched] if launched else None,
            minimum_interval_seconds=one.minimum_interval_seconds,
            description=one.description,
            default_status=one.default_status,
        )(_with_resource(one._raw_fn, self.names))  # pyright: ignore[reportPrivateUsage] - it has no public name

    def _schedule(self, one: ScheduleDefinition, jobs: Mapping[str, _Job]) -> ScheduleDefinition:
        function = one._execution_fn  # pyright: ignore[reportPrivateUsage] - it has no public name
        of_schedule: dict[str, Any] = {
            "name": self.names.of(one.name),
            "job": jobs[one.job_name],
            "cron_schedule": one.cron_schedule,
            "execution_timezone": one.execution_timezone,
            "description": one.description,
            "default_status": one.default_status,
        }
        if not isinstance(function, DecoratedScheduleFunction):
            return ScheduleDefinition(**of_schedule)
        return schedule(**of_schedule)(_with_resource(function.decorated_fn, self.names))

    def _function(self, one: OpDefinition) -> _Function:
        """What a step calls."""
        return _with_resource(cast(DecoratedOpFunction, one.compute_fn).decorated_fn, self.names)


@contextmanager
def _own_failure(names: Names) -> Generator[None]:
    """What a step, a check or a tick fails with names what is of the copy."""
    try:
        yield
    except (Failure, TickFailed) as error:
        raise remedied(error, lambda text: remedy_in(names, text)) from error


def _with_resource(function: _Function, names: Names) -> _Function:
    """The same function, whose parameter `replica` has the name of the copy's resource: by that Dagster finds it.

    What it yields or returns of assets is of the copy's.
    """
    own = names.of(_RESOURCE)

    def arguments(given: dict[str, Any]) -> dict[str, Any]:
        return {_RESOURCE if name == own else name: value for name, value in given.items()}

    def own_event(found: Any) -> Any:
        if isinstance(found, AssetCheckResult) and found.description:
            found = found._replace(description=remedy_in(names, found.description))
        return names.event(found)

    @wraps(function)
    def returning(*args: Any, **kwargs: Any) -> Any:
        with _own_failure(names):
            found = function(*args, **arguments(kwargs))
        return own_event(found) if hasattr(found, "asset_key") else found

    @wraps(function)
    def yielding(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _own_failure(names):
            found: Iterable[Any] = function(*args, **arguments(kwargs))
            for one in found:
                yield own_event(one)

    signature = inspect.signature(function)
    renamed = [one.replace(name=own) if one.name == _RESOURCE else one for one in signature.parameters.values()]
    copied = yielding if inspect.isgeneratorfunction(function) else returning
    copied.__signature__ = signature.replace(parameters=renamed)  # pyright: ignore[reportAttributeAccessIssue]
    hints = function.__annotations__.items()
    copied.__annotations__ = {own if name == _RESOURCE else name: kind for name, kind in hints}
    return copied
