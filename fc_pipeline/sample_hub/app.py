"""The HTTP API of the sample hub as a Starlette application."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from fc_pipeline.sample_hub import (
    channel_endpoints,
    endpoints,
    feed,
    hubble,
    operator_endpoints,
    signers_endpoint,
    storage_endpoint,
    target_endpoints,
)
from fc_pipeline.sample_hub.answers import Refusal, bad_query, not_found, refused
from fc_pipeline.sample_hub.faults import Faults
from fc_pipeline.sample_hub.hub import PoisonedAnswer, SampleHub
from fc_pipeline.sample_hub.query import BadQuery, Query

__all__ = ["CLOSE_CONNECTION", "GrpcAt", "hub_app"]

CLOSE_CONNECTION: Final = "fc_pipeline.close_connection"
"""Key in the ASGI scope's extensions under which the server gives a way to close the connection without an answer."""

TICK_SECONDS: Final = 0.1

Handler = Callable[[SampleHub, Query], Response]

ENDPOINTS: Final[dict[str, Handler]] = {
    "/v1/info": feed.info,
    "/v1/events": feed.events,
    "/v1/eventById": feed.event_by_id,
    **endpoints.ENDPOINTS,
    **target_endpoints.ENDPOINTS,
    **storage_endpoint.ENDPOINTS,
    **signers_endpoint.ENDPOINTS,
    **channel_endpoints.ENDPOINTS,
    **operator_endpoints.ENDPOINTS,
}


@dataclass(frozen=True)
class GrpcAt:
    """Where a hub speaks gRPC, too; port 0 takes a free one. `started` is told the port."""

    host: str
    port: int
    started: Callable[[int], None]


def hub_app(hub: SampleHub, grpc_at: GrpcAt | None = None) -> Starlette:
    """The application over a hub; while it runs, time passes for the hub even when nobody asks, and gRPC is served."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        ticking = asyncio.create_task(_tick(hub))
        async with AsyncExitStack() as stack:
            if grpc_at is not None:
                from fc_pipeline.sample_hub.grpc_api import grpc_api  # grpcio is an extra

                grpc_at.started(await stack.enter_async_context(grpc_api(hub, grpc_at.host, grpc_at.port)))
            yield
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _answer(hub, Request(scope, receive))
        await response(scope, receive, send)

    return Starlette(routes=[Mount("/", app=serve)], lifespan=lifespan)


async def _tick(hub: SampleHub) -> None:
    while True:
        hub.advance()
        await asyncio.sleep(TICK_SECONDS)


async def _answer(hub: SampleHub, request: Request) -> Response:
    """One request: unknown path or method is 404, a bad query 400 in plain text, a refusal 400 in JSON."""
    failure = _failure(hub.faults, request)
    if failure is not None:
        return failure
    is_hubble = hub.dialect == "hubble"
    known = hubble.ENDPOINTS if is_hubble else ENDPOINTS
    handler = known.get(request.scope["path"]) if request.method == "GET" else None
    if handler is None:
        return not_found()
    hub.advance()
    try:
        return handler(hub, (hubble.LooseQuery if is_hubble else Query)(request.scope["query_string"]))
    except BadQuery as error:
        return hubble.hubble_refused("bad_request.invalid_param", str(error)) if is_hubble else bad_query(str(error))
    except Refusal as refusal:
        return hubble.hubble_refused("not_found", refusal.error) if is_hubble else refused(refusal)
    except PoisonedAnswer:
        await _close_connection(request)
        return Response(status_code=500)


def _failure(faults: Faults, request: Request) -> Response | None:
    api_key = request.headers.get("x-api-key", "")
    if faults.api_key is not None and api_key != faults.api_key:
        return Response(f"invalid API key {api_key}", status_code=401)
    if faults.refused_fids and request.query_params.get("fid", "") in map(str, faults.refused_fids):
        return Response("fault", status_code=400)
    if faults.status is None or faults.failures_left == 0:
        return None
    if faults.failures_left is not None:
        faults.failures_left -= 1
    headers = {} if faults.retry_after_seconds is None else {"Retry-After": f"{faults.retry_after_seconds:g}"}
    return Response("fault", status_code=faults.status, headers=headers)


async def _close_connection(request: Request) -> None:
    """Close the connection and wait until the server has noticed, so that nothing is written to it."""
    request.scope["extensions"][CLOSE_CONNECTION]["close"]()
    while (await request.receive())["type"] != "http.disconnect":
        pass
