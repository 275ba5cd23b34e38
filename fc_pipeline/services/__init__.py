"""The servers that fc_pipeline brings along: Postgres, Redis and the sample hub, where none is configured."""

from fc_pipeline.services.opening import (
    close_services_for_process,
    embedded_servers,
    open_services,
    open_services_for_process,
    open_services_read_only,
    with_running,
    with_urls,
)

__all__ = [
    "close_services_for_process",
    "embedded_servers",
    "open_services",
    "open_services_for_process",
    "open_services_read_only",
    "with_running",
    "with_urls",
]
