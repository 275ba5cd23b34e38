"""Several hubs that speak gRPC as one: the first in order of preference that answers and is of the same network."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from fc_pipeline.errors import HubError, HubRefused
from fc_pipeline.hub.endpoint import HubEndpoint
from fc_pipeline.hub.grpc_channel import NodeUnavailable
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.hub.wire import HubInfo

__all__ = ["GrpcNodes"]

_MAX_BEHIND_HEIGHTS: Final = 1_200
"""About 20 minutes: what is asked of a node holds as of its head, and one far behind says little of now."""
_HINT: Final = "FC_HUB_GRPC names hubs of the same network as FC_HUB_URLS, which have caught up; or unset it"


class GrpcNodes:
    """Not for several event loops. Raises ConfigError where grpcio is not installed."""

    def __init__(self, endpoints: Sequence[HubEndpoint]) -> None:
        self._nodes = [GrpcNode(endpoint) for endpoint in endpoints]

    async def __aenter__(self) -> Self:
        """Nothing is asked yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        for node in self._nodes:
            await node.close()

    async def usable(self, info: HubInfo | None = None) -> GrpcNode | None:
        """The first node that answers; None where none is named.

        With `info`, what a hub says over HTTP, one that has the same shards and is about as far. Raises
        NodeUnavailable, with what is wrong with each.
        """
        errors: list[HubError] = []
        for node in self._nodes:
            try:
                told = await node.info()
                if info is not None:
                    _vet(node, told, info)
            except HubRefused:
                raise
            except HubError as error:
                errors.append(error)
            else:
                return node
        if errors:
            raise NodeUnavailable("; ".join(error.message for error in errors), hint=errors[0].hint)
        return None

    def leave(self, node: GrpcNode) -> None:
        """Prefer all others to one that failed."""
        self._nodes.sort(key=lambda own: own is node)


def _vet(node: GrpcNode, told: HubInfo, info: HubInfo) -> None:
    ours, theirs = _heads(info), _heads(told)
    if ours.keys() != theirs.keys():
        raise HubError(
            f"hub {node.name} has the shards {_named(theirs)} over gRPC, the one over HTTP {_named(ours)}", hint=_HINT
        )
    for shard, height in ours.items():
        if height - theirs[shard] > _MAX_BEHIND_HEIGHTS:
            raise HubError(
                f"hub {node.name} is {height - theirs[shard]:,} blocks behind on shard {shard} over gRPC", hint=_HINT
            )


def _heads(info: HubInfo) -> Mapping[int, int]:
    return {one.shardId: one.maxHeight for one in info.shardInfos if one.shardId}


def _named(heads: Mapping[int, int]) -> str:
    return ", ".join(map(str, sorted(heads))) or "none"
