"""`fc-pipeline sample-hub`: a hub in Snapchain's dialect, for demo, tests and load."""

from pathlib import Path
from typing import Annotated

import typer

from fc_pipeline.errors import ConfigError

__all__ = ["sample_hub"]


def sample_hub(
    log: Annotated[Path | None, typer.Option(help="Event log to serve: NDJSON, also gzipped.")] = None,
    events: Annotated[int | None, typer.Option(help="Without --log: how many events to generate.", min=1)] = None,
    fids: Annotated[int, typer.Option(help="Number of users in the generated events.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of everything generated.")] = 1,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 3381,
    grpc_port: Annotated[
        int | None,
        typer.Option(help="Port for gRPC: trie, signed headers, counts; 0 takes a free one.", min=0, max=65535),
    ] = None,
    live: Annotated[
        float | None, typer.Option(help="Live mode: the log's blocks appear as time passes, so many events a second.")
    ] = None,
    endless: Annotated[
        bool, typer.Option("--endless", help="The log is history; generated events follow, at the rate of --live.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option(help="With --endless: keep the new events in this file, across restarts.")
    ] = None,
    retention_hours: Annotated[
        float | None, typer.Option(help="Forget blocks older than this, as hubs do after 72 hours.")
    ] = None,
) -> None:
    """Serve a recorded or generated event log behind a hub's HTTP API."""
    from fc_pipeline.sample_hub.command import run_sample_hub  # the server is not needed by other commands

    if live is not None and not live > 0:
        raise ConfigError(f"--live {live:g} is no rate", hint="expected: events per second, above 0")
    run_sample_hub(
        log,
        host=host,
        port=port,
        grpc_port=grpc_port,
        live_rate=live,
        endless=endless,
        record=record,
        seed=seed,
        generate_events=events,
        fids=fids,
        retention_hours=retention_hours,
    )
