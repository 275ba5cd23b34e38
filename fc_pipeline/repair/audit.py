"""Users of an audit whom it need not read: their leaves are the hub's, and their rows say what their hashes do."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final

import sqlalchemy as sa

from fc_pipeline.backfill.equal_hashes import EqualHashes, equal_hashes
from fc_pipeline.hub.failover import HubPool
from fc_pipeline.hub.grpc_channel import NodeUnavailable
from fc_pipeline.hub.grpc_nodes import GrpcNodes
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.proof.messages import Verdict
from fc_pipeline.proving.messages import prove_messages_of
from fc_pipeline.replica import Replica

__all__ = ["proved_users"]

_log = logging.getLogger(__name__)

_RUN_ID: Final = "audit"
_SAYS_ANOTHER: Final = frozenset(
    {Verdict.NO_ENCODING_HAS_THE_HASH, Verdict.SIGNATURE_DOES_NOT_HOLD, Verdict.SIGNATURE_IS_NOT_STORED}
)
"""Of a row that is not what its author signed. Whether the signer was a key is not a matter of rows."""


async def proved_users(replica: Replica, hubs: HubPool, nodes: GrpcNodes, fids: Sequence[int]) -> EqualHashes:
    """Those of the FIDs that need not be read; none where no hub is asked over gRPC, or only targets are kept.

    Leaves are read from the rows as they are now, whatever digests say. Raises HubError, PostgresError.
    """
    shard_count = replica.shard_count()
    if shard_count is None or replica.targets is not None:
        return EqualHashes(frozenset(), 0)
    try:
        node = await nodes.usable(await hubs.info())
    except NodeUnavailable as error:
        _log.warning("everybody_is_read reason=%r", error.message)
        node = None
    if node is None:
        return EqualHashes(frozenset(), 0)
    with LiveSetView(replica.settings.libpq_url(), _RUN_ID, shard_count) as view:
        equal = await equal_hashes(view, node, fids)
    sound = await asyncio.to_thread(_with_sound_rows, replica.engine, equal.fids)
    return EqualHashes(frozenset(sound), equal.requests)


def _with_sound_rows(engine: sa.Engine, fids: Collection[int]) -> set[int]:
    with engine.connect() as connection:
        return {
            fid
            for fid in fids
            if _SAYS_ANOTHER.isdisjoint(verdict for _, verdict in prove_messages_of(connection, fid).verdicts)
        }
