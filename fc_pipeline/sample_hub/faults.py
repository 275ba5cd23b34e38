"""What may be wrong with a hub, switched on by tests while it serves."""

from dataclasses import dataclass, field

__all__ = ["Faults"]


@dataclass
class Faults:
    """Every fault may be changed while the hub runs; the default is a sound hub.

    `poison_event_ids`: an answer that would hold one of them closes the connection without a byte (hub-api T3).
    `pruned_before_height`: events of lower blocks are gone, silently (hub-api 3.5); per shard, or 0 for all shards.
    `frozen`: live mode stands still, so the head grows stale. `num_shards`: what /v1/info claims.
    `hidden_shards`: the hub does not host them. `status`: every request gets this status, with `retry_after_seconds`.
    `api_key`: requests without it in `x-api-key` get 401, and hear which one was refused, as hosted hubs do.
    `failures_left`: only so many requests get it, then the hub is sound again (None: all).
    `refused_fids`: whatever is asked of these users is refused.
    """

    poison_event_ids: set[int] = field(default_factory=set[int])
    pruned_before_height: dict[int, int] = field(default_factory=dict[int, int])
    frozen: bool = False
    num_shards: int | None = None
    hidden_shards: set[int] = field(default_factory=set[int])
    status: int | None = None
    retry_after_seconds: float | None = None
    failures_left: int | None = None
    refused_fids: set[int] = field(default_factory=set[int])
    api_key: str | None = field(default=None, repr=False)

    def oldest_height(self, shard: int) -> int:
        """The lowest height that the shard still shows."""
        return self.pruned_before_height.get(shard, self.pruned_before_height.get(0, 0))
