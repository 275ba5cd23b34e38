"""Which shard an FID lives on."""

import hashlib

__all__ = ["shard_of"]


def shard_of(fid: int, shards: int) -> int:
    """The home shard of an FID (hub-api 7.7)."""
    digest = hashlib.sha256((fid & 0xFFFFFFFF).to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") % shards + 1
