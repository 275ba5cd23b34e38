"""`fc-pipeline url`: where the replica's database is, for psql and other clients."""

import sys

from fc_pipeline.errors import ServiceError
from fc_pipeline.services import embedded_servers, with_urls
from fc_pipeline.settings import Settings

__all__ = ["url"]


def url() -> None:
    """Print the database's URL, password included: psql "$(fc-pipeline url)"."""
    configured = Settings.load()
    servers = embedded_servers(configured, need_hub=False, need_redis=False)
    if any(server.running_pid() is None for server in servers):
        raise ServiceError("the embedded Postgres does not run", hint="start it with `make up` or `fc-pipeline up`")
    sys.stdout.write(with_urls(configured, servers).libpq_url() + "\n")
