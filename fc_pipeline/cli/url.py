"""`fc-pipeline url`: where the replica's database, or Redis, is, for psql and other clients."""

import sys
from typing import Annotated

import typer

from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.services import embedded_servers, with_urls

__all__ = ["url"]


def url(
    redis: Annotated[bool, typer.Option("--redis", help="Redis' URL, as another FC_REDIS_URL takes it.")] = False,
) -> None:
    """Print the database's URL, password included: psql "$(fc-pipeline url)".

    The embedded servers are reached from their own machine only.
    """
    configured = Settings.load()
    name = "redis" if redis else "postgres"
    servers = [server for server in embedded_servers(configured, need_hub=False) if server.name == name]
    if any(server.running_pid() is None for server in servers):
        raise ServiceError(
            f"the embedded {name.capitalize()} does not run", hint="start it with `make up` or `fc-pipeline up`"
        )
    opened = with_urls(configured, servers)
    sys.stdout.write(f"{opened.redis_url if redis else opened.libpq_url()}\n")
