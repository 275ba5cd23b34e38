"""What a node tells its operator: this one has no peers, and does not say who it is connected with."""

from typing import Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import CORS, compact, json_object
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.query import Query

__all__ = ["ENDPOINTS"]


def current_peers(hub: SampleHub, query: Query) -> Response:
    del hub, query
    return json_object({"contacts": [], "peers": []})


def mesh(hub: SampleHub, query: Query) -> Response:
    """401: the one page that asks for credentials (hub-api 1.3)."""
    del hub, query
    body = compact({"error": "missing authorization header", "error_detail": None})
    return Response(body, status_code=401, media_type="application/json", headers=CORS)


ENDPOINTS: Final = {"/v1/currentPeers": current_peers, "/v1/mesh": mesh}
