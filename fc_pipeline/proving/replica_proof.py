"""Proves a replica at the first moment of its tables at which all is proved, by the first hub that answers."""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fc_pipeline.errors import ConfigError, HubUnavailable
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.grpc_node import GrpcNode
from fc_pipeline.hub.wire import HubInfo
from fc_pipeline.live_set.known import KnownSet, known_sets
from fc_pipeline.live_set.state import LiveSetView, ShardState
from fc_pipeline.proving.prove import are_of_one_height, prove_shards
from fc_pipeline.proving.shard_proof import ShardProof
from fc_pipeline.replica import Replica, grpc_endpoints

__all__ = ["ReplicaProof", "prove_replica", "shards_to_prove"]

_LOOKS_AT_COUNTS: Final = 30
_LOOKS_AT_ROOTS: Final = 3
_LOOK_SECONDS: Final = 0.5
"""A following replica is a block or two behind its hub most of the time: it is looked at again."""


@dataclass(frozen=True, slots=True)
class ReplicaProof:
    """The proofs of shards at one moment; of those whose root is not proved, the sets that are `not_whole`.

    A root that is proved has all, whatever the ledger says.
    """

    shards: tuple[ShardProof, ...]
    not_whole: tuple[KnownSet, ...]

    @property
    def is_proved(self) -> bool:
        """Whether all that could be asked of each shard is proved, and there are any."""
        return bool(self.shards) and all(one.is_proved for one in self.shards)

    @property
    def not_known(self) -> tuple[str, ...]:
        """What the tables may lack, each with what completes it."""
        return tuple(line for one in self.not_whole for line in one.lacks)


def prove_replica(
    replica: Replica, run_id: str, *, only_shard: int | None = None, little_known: Collection[int] = ()
) -> ReplicaProof:
    """The proofs at the first moment at which all is proved, or else at the last of several looks. Writes nothing.

    Who differs is looked for on `little_known` shards by few requests: where their past is not known, it is too many.
    Raises ConfigError where nothing is folded yet or there is no such shard, HubError, PostgresError.
    """
    shard_count = shards_to_prove(replica, only_shard)
    with LiveSetView(replica.settings.libpq_url(), run_id, shard_count) as view:
        proofs = _Looks(replica, view, only_shard, frozenset(little_known)).proofs()
    return ReplicaProof(tuple(proofs), _not_whole(replica, proofs))


def shards_to_prove(replica: Replica, only_shard: int | None) -> int:
    """How many shards the network has. Raises ConfigError where nothing is folded yet or it has no such shard."""
    shard_count = replica.shard_count()
    if shard_count is None:
        raise ConfigError("nothing is folded yet", hint="fc-pipeline up, or fc-pipeline sync")
    if only_shard is not None and only_shard > shard_count:
        raise ConfigError(
            f"there is no shard {only_shard}: the network has {shard_count}", hint="fc-pipeline prove --help"
        )
    return shard_count


@dataclass(frozen=True, slots=True)
class _Looks:
    """Looks at a replica several times."""

    replica: Replica
    view: LiveSetView
    only_shard: int | None
    little_known: frozenset[int]

    def proofs(self) -> list[ShardProof]:
        looks = _LOOKS_AT_ROOTS if self.replica.settings.hub_grpc else _LOOKS_AT_COUNTS
        for look in range(looks):
            is_last = look == looks - 1
            with self.view.one_moment() as states:
                shards = {one.shard: one for one in states if self.only_shard is None or one.shard == self.only_shard}
                proofs = asyncio.run(self._prove(shards, is_last=is_last))
            if proofs is not None and (is_last or all(one.is_proved for one in proofs)):
                return proofs
            time.sleep(_LOOK_SECONDS)
        raise AssertionError("the last look always proves")

    async def _prove(self, shards: Mapping[int, ShardState], *, is_last: bool) -> list[ShardProof] | None:
        """None where counts are all that can be compared and the hub is at other heights, unless this is the last."""
        async with HubPool(self.replica.hub_endpoints) as hubs:
            info = await hubs.info()
        if self.replica.settings.hub_grpc:
            return await self._prove_over_grpc(shards, info)
        if not is_last and not are_of_one_height(shards, info):
            return None
        return await prove_shards(shards, info, None, self.replica.settings.validators)

    async def _prove_over_grpc(self, shards: Mapping[int, ShardState], info: HubInfo) -> list[ShardProof]:
        """By the first hub that answers."""
        endpoints = grpc_endpoints(self.replica.settings)
        validators = self.replica.settings.validators
        with self.replica.engine.connect() as connection:
            listed = [one.shard for one in known_sets(connection) if one.is_listed and not one.is_from_the_start]
        for place, endpoint in enumerate(endpoints, start=1):
            async with GrpcNode(endpoint) as node:
                try:
                    return await prove_shards(shards, info, node, validators, listed, little_known=self.little_known)
                except HubUnavailable:
                    if place == len(endpoints):
                        raise
        raise AssertionError("the last hub answers or raises")


def _not_whole(replica: Replica, proofs: Sequence[ShardProof]) -> tuple[KnownSet, ...]:
    open_shards = {one.shard for one in proofs if one.root is None or not one.root.is_proved}
    with replica.engine.connect() as connection:
        return tuple(one for one in known_sets(connection) if one.shard in open_shards and not one.is_whole)
