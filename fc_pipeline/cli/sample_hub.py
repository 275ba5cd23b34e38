"""`fc-pipeline sample-hub`: a hub in Snapchain's dialect, for demo, tests and load."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sample_hub"]


def sample_hub(
    log: Annotated[
        Path | None, typer.Option(help="Event log to serve: NDJSON, also gzipped. Without it, one is generated.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 3381,
    live: Annotated[float, typer.Option(help="New events per second as time passes; 0 for none.", min=0)] = 0.0,
    endless: Annotated[bool, typer.Option(help="Go on with generated events after the log's last one.")] = False,
    record: Annotated[Path | None, typer.Option(help="Keep generated events in this NDJSON file.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything generated.")] = 1,
    events: Annotated[int, typer.Option(help="How many events to generate without --log.", min=0)] = 20_000,
    fids: Annotated[int, typer.Option(help="How many users the generated events are of.", min=1)] = 500,
) -> None:
    """Serve a recorded or generated event log behind a hub's HTTP API."""
    from fc_pipeline.sample_hub.command import run_sample_hub  # the server is not needed by other commands

    run_sample_hub(
        log,
        host=host,
        port=port,
        live_rate=live,
        endless=endless,
        record=record,
        seed=seed,
        generate_events=events,
        fids=fids,
    )
