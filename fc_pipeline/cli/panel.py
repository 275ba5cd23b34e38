"""What `fc-pipeline up` prints once everything runs: where everything is, and what is not as it was asked for."""

import asyncio
import sys
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from rich.console import Console

from fc_pipeline.config.hosts import in_url
from fc_pipeline.config.settings import Settings
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.orchestration.servers.dagster import PREFERRED_UI_PORT
from fc_pipeline.plain_text import plain, shown_url

__all__ = ["print_panel"]

HUB_SECONDS: Final = 5.0
"""How long `up` waits for a hub's answer once everything is started."""
_LABEL_CHARACTERS: Final = 12


def print_panel(
    console: Console,
    settings: Settings,
    embedded: Collection[str],
    ui_url: str,
    wanted_port: int | None,
    *,
    metrics_port: int | None = None,
) -> None:
    """Print the URLs, and highlight what differs from the configuration.

    `settings` have the URLs of the embedded servers, which `embedded` names; `wanted_port` is that of the UI, if one
    was asked for, `metrics_port` that of the metrics, if they are served.
    """
    # Without a frame, so that a path longer than the terminal's width can be copied.
    console.print("fc-pipeline is up; Ctrl-C stops everything", style="bold", highlight=False)
    for label, value in _rows(settings, embedded, ui_url, metrics_port):
        console.print(f"  {label:<{_LABEL_CHARACTERS}}{plain(value)}", markup=False, highlight=False, soft_wrap=True)
    wanted, port = wanted_port or PREFERRED_UI_PORT, urlsplit(ui_url).port
    if port != wanted:
        console.print(f"port {wanted} is taken: the UI is on {port}", highlight=False)
    if metrics_port not in (None, settings.metrics_port):
        console.print(f"port {settings.metrics_port} is taken: metrics are on {metrics_port}", highlight=False)
    silent = _silent_hubs(settings)
    for name, reason in silent.items():
        console.print(f"the hub {name} does not answer: {reason}", style="bold red", markup=False, highlight=False)
    if len(silent) == len(settings.hub_urls):
        console.print("nothing new is read until one does; see FC_HUB_URLS", style="bold red", highlight=False)
    sys.stdout.flush()


def _rows(
    settings: Settings, embedded: Collection[str], ui_url: str, metrics_port: int | None
) -> list[tuple[str, str]]:
    """Labels and values; no value has a password."""

    def note(name: str) -> str:
        return " (embedded)" if name in embedded else ""

    rows: list[tuple[str, str]] = [("Dagster UI", ui_url), ("replicates", _mode(settings))]
    hubs = ", ".join(HubEndpoint(url).name for url in settings.hub_urls)
    rows.append(("hub", hubs + (" (sample: generated data)" if "sample_hub" in embedded else "")))
    rows.append(("Postgres", shown_url(settings.libpq_url()) + note("postgres")))
    if "postgres" in embedded:
        rows.append(("", f"password in {settings.data_dir / 'postgres.password'}"))
    rows.append(("Redis", _where_redis_is(settings) + note("redis")))
    rows.append(("lake", shown_url(settings.lake_uri)))
    if metrics_port is not None:
        rows.append(("metrics", f"http://{in_url(settings.metrics_host)}:{metrics_port}/metrics"))
    rows.append(("logs", str(settings.data_dir / "logs")))
    return rows


def _mode(settings: Settings) -> str:
    """The source of the data."""
    if settings.targets == "all":
        return "every user (FC_TARGETS=all)"
    roots = len(settings.root_fids)
    return f"the target set only (FC_TARGETS=set, {roots} root{'' if roots == 1 else 's'} by FC_ROOT_FIDS)"


def _where_redis_is(settings: Settings) -> str:
    if settings.redis_url is None:
        return "none: nothing is shared by it (Debian: apt install redis-server)"
    return shown_url(settings.redis_url)


def _silent_hubs(settings: Settings) -> dict[str, str]:
    """The hubs that do not answer within HUB_SECONDS, each with the reason."""
    from fc_pipeline.replica import hub_endpoints  # neither is needed by other commands
    from fc_pipeline.status.hub_reach import unreachable_hubs

    return asyncio.run(unreachable_hubs(hub_endpoints(settings), HUB_SECONDS))
