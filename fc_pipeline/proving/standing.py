"""How a shard stands to the network: proved, refuted, or not compared, with the reason: nothing unknown is an alarm."""

from dataclasses import dataclass
from enum import Enum

from fc_pipeline.live_set.known import KnownSet
from fc_pipeline.proving.root import RootProof
from fc_pipeline.proving.shard_proof import Counts, ShardProof

__all__ = ["ShardStanding", "Standing", "standing_of"]


class Standing(Enum):
    """What is to be said of a shard's live set."""

    PROVED = "proved"
    REFUTED = "refuted"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class ShardStanding:
    """How a shard stands, and why in words."""

    standing: Standing
    why: str


def standing_of(shard: ShardProof, not_whole: KnownSet | None, *, has_untold_keys: bool) -> ShardStanding:
    """Of a shard, whose set is known but for `not_whole`.

    With `has_untold_keys`, the network has KEY_ADD leaves, which no feed tells of: a hub has more leaves then.
    """
    if shard.root is not None:
        return _of_root(shard, shard.root, not_whole)
    return _of_counts(shard.counts, not_whole, has_untold_keys=has_untold_keys)


def _of_root(shard: ShardProof, root: RootProof, not_whole: KnownSet | None) -> ShardStanding:
    said = {strength: found for strength, _, found in shard.lines()}
    if shard.is_proved:
        why = said["root"] if root.consensus is None else f"{said['root']}; {said['consensus']}"
        return ShardStanding(Standing.PROVED, why)
    if root.header is None:
        return ShardStanding(Standing.NOT_COMPARED, said["root"])
    if root.is_proved:
        return ShardStanding(Standing.REFUTED, said["consensus"])
    if not_whole is not None:
        return ShardStanding(Standing.NOT_COMPARED, "; ".join(not_whole.lacks))
    if not root.differing and root.is_whole_search:
        return ShardStanding(Standing.NOT_COMPARED, f"our root {said['root']}")
    return ShardStanding(Standing.REFUTED, f"our root {said['root']}")


def _of_counts(counts: Counts, not_whole: KnownSet | None, *, has_untold_keys: bool) -> ShardStanding:
    said = f"{counts.ours:,} leaves at height {counts.height}, the hub has {counts.told:,} at {counts.told_height}"
    if counts.is_proved:
        return ShardStanding(Standing.PROVED, f"{counts.ours:,} leaves, as the hub says at this height")
    if not_whole is not None:
        return ShardStanding(Standing.NOT_COMPARED, "; ".join(not_whole.lacks))
    if counts.is_comparable and has_untold_keys and counts.told > counts.ours:
        untold = "the others may be keys that no feed tells of, which a hub tells over gRPC (FC_HUB_GRPC)"
        return ShardStanding(Standing.NOT_COMPARED, f"{said}; {untold}")
    return ShardStanding(Standing.REFUTED if counts.is_comparable else Standing.NOT_COMPARED, said)
