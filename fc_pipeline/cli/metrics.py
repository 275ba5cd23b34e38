"""`fc-pipeline metrics`: the replica's state for Prometheus, whatever else runs or does not."""

import signal
import sys
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fc_pipeline.config.hosts import in_url
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import ServiceError
from fc_pipeline.services import with_running

if TYPE_CHECKING:
    from fc_pipeline.metrics.sources import Source

__all__ = ["metrics"]

LEDGER_SECONDS: Final = 10.0
HUB_SECONDS: Final = 15.0
LOCAL_LAKE_SECONDS: Final = 300.0
LAKE_SECONDS: Final = 3600.0
"""How often a lake in an object store is listed, which is billed."""


def metrics(
    port: Annotated[int | None, typer.Option(help="Port to serve on (FC_METRICS_PORT); 0 takes a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (FC_METRICS_HOST).")] = None,
) -> None:
    """Serve metrics for Prometheus at /metrics, until Ctrl-C. Starts nothing, and needs nothing else to run."""
    from fc_pipeline.metrics.exposition import serving_metrics
    from fc_pipeline.metrics.sources import Sources

    settings = Settings.load()
    ended = Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    sources = Sources(_sources(settings))
    address = settings.metrics_host if host is None else host
    with serving_metrics(sources.samples, address, settings.metrics_port if port is None else port) as bound_port:
        sources.start()
        sys.stdout.write(f"metrics: http://{in_url(address)}:{bound_port}/metrics\n")
        sys.stdout.flush()
        ended.wait()
        sources.stop()


def _sources(settings: Settings) -> "list[Source]":
    """What is read: each looks up anew where the embedded servers are, which may come and go."""
    from fc_pipeline.metrics.hub_readings import read_hubs
    from fc_pipeline.metrics.lake_readings import read_lake
    from fc_pipeline.metrics.ledger_readings import LedgerReadings
    from fc_pipeline.metrics.sources import Source
    from fc_pipeline.orchestration.dagster_readings import DagsterReadings
    from fc_pipeline.replica import hub_endpoints

    def running() -> Settings:
        return with_running(settings)

    def postgres() -> Settings:
        found = running()
        if found.postgres_url is None:
            raise ServiceError("the embedded Postgres does not run", hint="start it with `fc-pipeline up`")
        return found

    ledger = LedgerReadings(postgres)
    is_local = "://" not in settings.lake_uri or settings.lake_uri.startswith("file://")
    return [
        Source("ledger", ledger.read, LEDGER_SECONDS),
        Source("dagster", DagsterReadings(postgres).read, LEDGER_SECONDS),
        Source("hubs", lambda: read_hubs(hub_endpoints(running())), HUB_SECONDS),
        Source("lake", lambda: read_lake(settings), LOCAL_LAKE_SECONDS if is_local else LAKE_SECONDS),
    ]
