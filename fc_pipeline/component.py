"""A Dagster component: the pipeline, or a copy of it, declared in a `defs.yaml`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dagster import Component, ComponentLoadContext, Definitions, EnvVar, Resolvable
from dagster.components.component.component_scaffolder import DefaultComponentScaffolder
from dagster.components.component_scaffolding import scaffold_component
from dagster.components.scaffold.scaffold import ScaffoldRequest, scaffold_with

from fc_pipeline.definitions import build_defs
from fc_pipeline.orchestration.resources import ReplicaResource

__all__ = ["FarcasterReplica"]


class FarcasterReplicaScaffolder(DefaultComponentScaffolder):
    """What `dg scaffold defs fc_pipeline.FarcasterReplica NAME` writes: a copy behind the last part of the name."""

    def scaffold(self, request: ScaffoldRequest[Any]) -> None:
        """Write `defs.yaml`."""
        name = "".join(letter if letter.isalnum() else "_" for letter in request.target_path.name)
        scaffold_component(
            request,
            {
                "key_prefix": name,
                "group_prefix": name,
                "settings": {"FC_DATA_DIR": f"data/{name}"},
            },
        )


@scaffold_with(FarcasterReplicaScaffolder)
@dataclass
class FarcasterReplica(Component, Resolvable):
    """A Postgres replica of the Farcaster network: assets, checks, jobs, sensors and schedules.

    Settings are FC_ variables; none given: those of the environment and `.env`. What is secret stands under
    `settings_from_env`: the name of the variable that has it, so that Dagster's pages do not show it.
    """

    key_prefix: str | Sequence[str] = ()
    """What the assets' keys begin with, such as `farcaster` or [social, farcaster]."""
    group_prefix: str | None = None
    """What the groups' names begin with."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """Tags of the assets, and of the runs of the jobs."""
    owners: Sequence[str] | None = None
    """Owners of the assets, such as [team:growth]."""
    hub_pool: str | None = None
    """The concurrency pool of the steps that ask the hub for many users, if it is not to be one of its own."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """FC_ settings with their values."""
    settings_from_env: Mapping[str, str] = field(default_factory=dict[str, str])
    """FC_ settings with the names of the environment variables that have their values."""

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """The definitions, all under the prefix."""
        secrets = {name: EnvVar(variable) for name, variable in self.settings_from_env.items()}
        settings = {**self.settings, **secrets}
        return build_defs(
            key_prefix=self.key_prefix,
            group_prefix=self.group_prefix,
            tags=self.tags,
            owners=self.owners,
            hub_pool=self.hub_pool,
            resources={"replica": ReplicaResource(settings=settings)} if settings else None,
        )
