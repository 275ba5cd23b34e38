"""Open what the settings leave to the embedded servers, and get settings in which every URL is filled in."""

import atexit
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from fc_pipeline.config.project import project_file
from fc_pipeline.config.settings import Settings
from fc_pipeline.errors import NothingYet
from fc_pipeline.services.lifetime import EmbeddedServer
from fc_pipeline.services.postgres import EmbeddedPostgres
from fc_pipeline.services.redis import EmbeddedRedis
from fc_pipeline.services.sample_hub import SampleHubServer

__all__ = [
    "close_services_for_process",
    "embedded_servers",
    "open_services",
    "open_services_for_process",
    "open_services_read_only",
    "with_running",
    "with_urls",
]


def embedded_servers(
    settings: Settings, *, need_hub: bool = True, need_redis: bool | None = True
) -> list[EmbeddedServer]:
    """The servers that the settings leave to us, none of them started by this.

    With `need_redis` None, Redis is among them where processes share something through it and one can be had: the
    requests to a hub that are limited, or the target set.
    """
    servers: list[EmbeddedServer] = []
    if settings.postgres_url is None:
        servers.append(EmbeddedPostgres(settings.data_dir))
    shares = settings.targets == "set" or (need_hub and settings.limits_requests)
    if need_redis is None:
        need_redis = shares and EmbeddedRedis.can_run()
    if need_redis and settings.redis_url is None:
        servers.append(EmbeddedRedis(settings.data_dir))
    if need_hub and not settings.hub_urls:
        servers.append(SampleHubServer(settings.data_dir, project_file("data/sample/events.ndjson.gz")))
    return servers


def with_urls(settings: Settings, servers: list[EmbeddedServer]) -> Settings:
    """The settings with the URLs of the running servers filled in."""
    urls = {server.name: server.url() for server in servers}
    update: dict[str, object] = {}
    if "postgres" in urls:
        update["postgres_url"] = urls["postgres"]
    if "redis" in urls:
        update["redis_url"] = urls["redis"]
    for server in servers:
        if isinstance(server, SampleHubServer):
            update["hub_urls"] = (server.url(),)
            update["validators"] = settings.validators or server.validators()
            if (grpc_url := server.grpc_url()) is not None and not settings.hub_grpc:
                update["hub_grpc"] = (grpc_url,)
    return settings.model_copy(update=update)


def with_running(settings: Settings) -> Settings:
    """The settings with the URLs of those embedded servers filled in that run; none is started."""
    return with_urls(settings, [server for server in embedded_servers(settings) if server.running_pid() is not None])


@contextmanager
def open_services_read_only(
    settings: Settings, *, need_hub: bool = False, need_redis: bool | None = False
) -> Generator[Settings]:
    """As `open_services`, for who only looks: where there is no replica yet, none is begun, and no folder is made.

    Raises NothingYet where there is nothing to look at.
    """
    if settings.postgres_url is not None:
        with ExitStack() as stack:
            if embedded_servers(settings, need_hub=need_hub, need_redis=need_redis):
                settings = stack.enter_context(open_services(settings, need_hub=need_hub, need_redis=need_redis))
            yield settings
        return
    if not EmbeddedPostgres(settings.data_dir).is_made:
        raise _nothing_in(settings.data_dir)
    try:
        with open_services(settings, need_hub=need_hub, need_redis=need_redis) as opened:
            yield opened
    except NothingYet as error:
        raise _nothing_in(settings.data_dir) from error


def _nothing_in(data_dir: Path) -> NothingYet:
    return NothingYet(
        f"nothing here yet: {data_dir} has no replica",
        hint="`fc-pipeline up` begins one, and so does `fc-pipeline sync`",
    )


@contextmanager
def open_services(settings: Settings, *, need_hub: bool = True, need_redis: bool | None = True) -> Generator[Settings]:
    """Use the embedded servers that the settings call for, starting those that do not run.

    Yields:
        The settings with the URLs of Postgres, and of Redis and a hub where needed, filled in.

    Raises:
        ServiceError: a server could not be started.
    """
    settings.make_data_dir()
    servers = embedded_servers(settings, need_hub=need_hub, need_redis=need_redis)
    with ExitStack() as stack:
        for server in servers:
            server.acquire()
            stack.callback(server.release)
        yield with_urls(settings, servers)


_opened: dict[tuple[str, str], EmbeddedServer] = {}
_opening = Lock()
_opened_by_pid = os.getpid()


def open_services_for_process(settings: Settings, *, need_hub: bool = True, need_redis: bool | None = True) -> Settings:
    """As `open_services`, until this process ends: for Dagster's storage and resources, which are never closed.

    Raises:
        ServiceError: a server could not be started.
    """
    settings.make_data_dir()
    servers = embedded_servers(settings, need_hub=need_hub, need_redis=need_redis)
    with _opening:
        held = [_held(server) for server in servers]
    return with_urls(settings, held)


def _held(server: EmbeddedServer) -> EmbeddedServer:
    key = (server.name, str(server.data_dir))
    held = _opened.get(key)
    if held is None or held.running_pid() is None:  # it may have been killed since
        held = held or server
        held.acquire()
        _opened[key] = held
    return held


@atexit.register
def close_services_for_process() -> None:
    """What happens at the end of the process, for one that must see the servers stopped before its end."""
    if os.getpid() != _opened_by_pid:  # a forked child does not own what its parent opened
        return
    while _opened:
        _opened.popitem()[1].release()
