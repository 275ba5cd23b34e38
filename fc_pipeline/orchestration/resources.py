"""Dagster resources: the replica, opened for the process from the settings."""

from collections.abc import Generator
from contextlib import contextmanager

from dagster import ConfigurableResource

from fc_pipeline.config.settings import Settings
from fc_pipeline.logs import configure_logging
from fc_pipeline.replica import Replica, open_replica
from fc_pipeline.services import open_services_for_process

__all__ = ["ReplicaResource"]


class ReplicaResource(ConfigurableResource[Replica]):
    """The replica of the FC_ settings; starts the embedded servers that they imply."""

    @contextmanager
    def open(self, *, need_hub: bool = True) -> Generator[Replica]:
        """The replica, migrated and ready; its connections end with the block.

        Without `need_hub`, no sample hub is started: work on the database and the raw log alone must not depend on a
        hub.
        """
        settings = Settings.load()
        configure_logging(settings.log_format)
        settings = open_services_for_process(settings, need_hub=need_hub, need_redis=None)
        with open_replica(settings) as replica:
            yield replica
