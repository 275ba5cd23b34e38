"""Dagster resources: the replica, opened for the process from the settings."""

from collections.abc import Generator
from contextlib import contextmanager

from dagster import ConfigurableResource, EnvVar
from pydantic import Field

from fc_pipeline.config.settings import Settings
from fc_pipeline.logs import configure_logging
from fc_pipeline.orchestration.names import Names
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.services import open_services_for_process

__all__ = ["ReplicaResource"]


class ReplicaResource(ConfigurableResource[Replica]):
    """The replica of the FC_ settings; starts the embedded servers that they imply."""

    settings: dict[str, str] = Field(
        default={},
        description="The FC_ settings of this replica, such as FC_POSTGRES_URL; values may be EnvVar. Empty: those of "
        "the environment and `.env`. If any is given, these have no part in it.",
    )
    key_prefix: list[str] = Field(
        default=[], description="What the assets' keys and the jobs' names of this copy begin with; build_defs sets it."
    )

    @property
    def names(self) -> Names:
        """What the copy that works on this replica calls its assets and jobs."""
        return Names(tuple(self.key_prefix))

    def load_settings(self) -> Settings:
        """The settings, checked. Raises ConfigError."""
        if not self.settings:
            return Settings.load()
        given = {
            name: (value.get_value() or "") if isinstance(value, EnvVar) else value
            for name, value in self.settings.items()
        }
        return Settings.load(given, dotenv=None)

    @contextmanager
    def open(self, *, need_hub: bool = True) -> Generator[Replica]:
        """The replica, migrated and ready; its connections end with the block.

        Without `need_hub`, no sample hub is started: work on the database and the raw log alone must not depend on a
        hub.
        """
        settings = self.load_settings()
        configure_logging(settings.log_format)
        settings = open_services_for_process(settings, need_hub=need_hub, need_redis=None)
        with open_replica(settings) as replica:
            yield replica
