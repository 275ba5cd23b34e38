"""Leaves that no feed tells of, as a node's trie has them: gasless keys (KEY_ADD, KEY_REMOVE; node-db 3.3, 3.6).

They stand among `other_leaves`, where no event ever decides over one: what was taken last holds.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import sqlalchemy as sa

from fc_pipeline.hub.wire import first_event_id
from fc_pipeline.proof.leaf_keys import MESSAGE_TYPE_SHIFT, MESSAGE_TYPES
from fc_pipeline.tables.other_leaves import OTHER_LEAVES

__all__ = ["take_from_node"]

_GASLESS_KEYS: Final = tuple(MESSAGE_TYPES[name] << MESSAGE_TYPE_SHIFT for name in ("KEY_ADD", "KEY_REMOVE"))
"""Type bytes of leaves that no feed tells of."""

_FORGET: Final = sa.text(
    f"DELETE FROM {OTHER_LEAVES.qualified} WHERE shard = :shard AND fid = ANY (:fids) "
    "AND get_byte(leaf, 0) = ANY (:types)"
)
_TAKE: Final = sa.text(
    f"INSERT INTO {OTHER_LEAVES.qualified} (shard, fid, leaf, version) VALUES (:shard, :fid, :leaf, :version)"
)
_NOTE: Final = sa.text("INSERT INTO pipeline.touched_fids (shard, fids) VALUES (:shard, :fids)")


def take_from_node(connection: sa.Connection, shard: int, height: int, leaves: Mapping[int, Sequence[bytes]]) -> None:
    """Put the leaves of gasless keys that a node has at a height in the place of those known, for each FID given.

    A leaf is its type byte and hash.
    """
    fids = sorted(leaves)
    connection.execute(_FORGET, {"shard": shard, "fids": fids, "types": list(_GASLESS_KEYS)})
    version = first_event_id(height)
    lines = [
        {"shard": shard, "fid": fid, "leaf": leaf, "version": version} for fid in fids for leaf in sorted(leaves[fid])
    ]
    if lines:
        connection.execute(_TAKE, lines)
    connection.execute(_NOTE, {"shard": shard, "fids": fids})
