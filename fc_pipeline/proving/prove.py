"""Proves all shards at one moment of the tables, as strongly as what is configured allows."""

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from fc_pipeline.config.validators import ValidatorSets
from fc_pipeline.hub.wire import HubInfo
from fc_pipeline.proving.root import MAX_REQUESTS, UNLISTED_TYPES, UNTOLD_TYPES, prove_root
from fc_pipeline.proving.shard_proof import Counts, ShardProof
from fc_pipeline.proving.sides import LiveShard, ProvingNode

__all__ = ["InfoSource", "are_of_one_height", "prove_shards"]

_FEW_REQUESTS: Final = 1_000
"""Where much is not known, much differs; leaves that no feed tells of are found among few users only."""


class InfoSource(Protocol):
    """Whoever says how many leaves each shard has."""

    async def info(self) -> HubInfo:
        """`/v1/info`. Raises HubError."""
        ...


def are_of_one_height(shards: Mapping[int, LiveShard], info: HubInfo) -> bool:
    """Whether the hub speaks of the heights that we are at."""
    told = {one.shardId: one.maxHeight for one in info.shardInfos}
    return all(told.get(shard) == one.height for shard, one in shards.items())


async def prove_shards(
    shards: Mapping[int, LiveShard],
    info: HubInfo,
    node: ProvingNode | None,
    validators: ValidatorSets,
    listed: Collection[int] = (),
    *,
    little_known: Collection[int] = (),
) -> list[ShardProof]:
    """The proofs of each shard; without a `node` to be asked over gRPC, of its counts alone. Raises HubError.

    Of `listed` shards what was before the feed that was read is known by a node's lists alone. Who differs is looked
    for on `little_known` shards by few requests.
    """
    told = {one.shardId: one for one in info.shardInfos}
    proofs: list[ShardProof] = []
    for number, shard in sorted(shards.items()):
        root = None
        if node is not None:
            untold = UNTOLD_TYPES | UNLISTED_TYPES if number in listed else UNTOLD_TYPES
            most = _FEW_REQUESTS if number in little_known else MAX_REQUESTS
            signers = validators.at(number, shard.height)
            root = await prove_root(shard, node, signers, untold=untold, max_requests=most)
        ours = root.ours.leaf_count if root is not None else shard.virtual_shards.root.leaf_count
        hub = told.get(number)
        counts = Counts(ours, shard.height, hub.numMessages if hub else 0, hub.maxHeight if hub else 0)
        proofs.append(ShardProof(number, shard.height, counts, root))
    return proofs
