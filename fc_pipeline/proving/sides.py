"""The two sides of a proof: one state of our live set, and a node that tells of its trie and its headers."""

from typing import Protocol

from fc_pipeline.proof.descent import ToldNode
from fc_pipeline.proof.headers import SignedHeader
from fc_pipeline.proof.trie import Nodes

__all__ = ["LiveShard", "ProvingNode"]


class LiveShard(Protocol):
    """What our tables say of a shard's trie after the block at `height`; all of it from one view of Postgres."""

    @property
    def shard(self) -> int:
        """The shard's number."""
        ...

    @property
    def height(self) -> int:
        """The highest block that is folded."""
        ...

    @property
    def virtual_shards(self) -> Nodes:
        """Its nodes of depth 2."""
        ...

    def fids(self, virtual_shard: int) -> Nodes:
        """The nodes of the FIDs (depth 10) of a virtual shard."""
        ...

    def leaves(self, fid_prefix: bytes) -> Nodes:
        """The leaves of an FID, given by the five bytes that its keys begin with."""
        ...


class ProvingNode(Protocol):
    """A node's gRPC API, as far as a proof asks it (node-db 3.5)."""

    async def trie_node(self, shard: int, prefix: bytes) -> ToldNode | None:
        """The node at a prefix of whole bytes, as of now; None where nothing is below it. Raises HubError."""
        ...

    async def block(self, shard: int, height: int) -> SignedHeader | None:
        """The header of a block with its votes; None where the node does not keep it. Raises HubError."""
        ...
