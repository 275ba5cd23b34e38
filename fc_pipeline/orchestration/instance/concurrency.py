"""What limits how much asks a hub at a time: a tag of runs that catch up, and a pool of steps that ask by user.

Dagster applies the limit of the tag, as configured in dagster.yaml, to queued runs itself; the sensor reads it here, so
as not to request more.
"""

from typing import Final
from urllib.parse import urlsplit

from dagster import DagsterInstance

__all__ = ["CATCH_UP_TAG", "HUB_POOL", "HUB_TAG", "catch_up_tags", "max_catch_up_runs"]

CATCH_UP_TAG: Final = "fc/catch_up"
HUB_TAG: Final = "fc/hub"
"""Tag with the hub's host and port: a limit per unique value of it holds for all copies that read one hub."""
HUB_POOL: Final = "fc_hub"
"""Pool of the steps that ask a hub for many users' records; without a limit, as long as nobody sets one.

The step that follows the feed is in none: its successor starts before it ends, and would wait for a place meanwhile.
"""
MAX_WITHOUT_LIMIT: Final = 24
"""The limit for an instance without one: each run is a process."""
MAX_SECONDS: Final = 1800
"""An hour takes a minute or two. A run that died unnoticed keeps its slot this long."""


def catch_up_tags(hub_url: str) -> dict[str, str]:
    """The tags of a run that catches up with an hour, from this hub first."""
    parts = urlsplit(hub_url)
    hub = parts.hostname or "" if parts.port is None else f"{parts.hostname}:{parts.port}"
    return {CATCH_UP_TAG: "true", HUB_TAG: hub, "dagster/max_runtime": str(MAX_SECONDS)}


def max_catch_up_runs(instance: DagsterInstance) -> int:
    """The limit of `concurrency.runs.tag_concurrency_limits` on the tag; without one, that on all runs."""
    queue = instance.get_concurrency_config().run_queue_config
    if queue is None:
        return MAX_WITHOUT_LIMIT
    for limit in queue.tag_concurrency_limits:
        if limit["key"] == CATCH_UP_TAG:
            return int(limit["limit"])
    return queue.max_concurrent_runs if queue.max_concurrent_runs >= 0 else MAX_WITHOUT_LIMIT
