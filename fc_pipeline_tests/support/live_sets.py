"""What a replica's live set is, as a test looks at it: keys, counts and roots, and the same by a plain model."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from fc_pipeline.live_set.digests import DigestKeeper
from fc_pipeline.live_set.state import LiveSetView
from fc_pipeline.proof.leaf_keys import fid_prefix
from fc_pipeline.proof.trie import Node, Nodes
from fc_pipeline.sample_hub.leaf_state import LeafModel
from fc_pipeline_tests.support.any_order import Log

__all__ = ["LiveSet", "plain_keys", "root_of"]


def plain_keys(log: Log, shard: int) -> set[bytes]:
    """The keys of a shard after its whole log, by the rules of node-db 3.6 event by event."""
    model = LeafModel()
    for _, events in sorted(log[shard].items()):
        for event in events:
            model.fold(json.loads(event))
    return model.keys


def root_of(keys: Iterable[bytes]) -> Node:
    return Nodes.of_leaves(list(keys)).root


@dataclass(frozen=True)
class LiveSet:
    """The live set of the database at `url`, of a network of `shard_count` shards."""

    url: str
    shard_count: int = 2

    def refresh(self, *, all_fids: bool = False, only_targets: bool = False) -> int:
        """Make digests anew; of how many FIDs."""
        with DigestKeeper(self.url, "test", self.shard_count, only_targets=only_targets) as keeper:
            return keeper.refresh(all_fids=all_fids).fids

    def roots(self) -> dict[int, Node]:
        """By shard, from one view."""
        with LiveSetView(self.url, "test", self.shard_count) as view, view.one_moment() as states:
            return {state.shard: state.root for state in states}

    def keys(self, shard: int, fids: Iterable[int]) -> set[bytes]:
        with LiveSetView(self.url, "test", self.shard_count) as view, view.one_moment():
            return {fid_prefix(fid) + leaf for fid in fids for leaf in view.leaves_of(shard, fid)}
