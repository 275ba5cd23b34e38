"""What is proved of one shard, and whatever is not: counts, root, the validators' consensus (docs/proof.md)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fc_pipeline.proof.descent import Difference
from fc_pipeline.proof.leaf_keys import FID_PREFIX_BYTES, leaf_type_name
from fc_pipeline.proving.root import RootProof

__all__ = ["Counts", "ShardProof", "described", "fid_of"]

_SHOWN_HASH_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Counts:
    """How many leaves we have at our height, and how many the hub said (`numMessages` of /v1/info) at its own."""

    ours: int
    height: int
    told: int
    told_height: int

    @property
    def is_comparable(self) -> bool:
        """Whether both are of one height."""
        return self.height == self.told_height

    @property
    def is_proved(self) -> bool:
        """Whether they are equal, at one height."""
        return self.is_comparable and self.ours == self.told


@dataclass(frozen=True, slots=True)
class ShardProof:
    """The proofs of a shard. `root` is None where no hub was asked over gRPC."""

    shard: int
    height: int
    counts: Counts
    root: RootProof | None = None

    @property
    def is_proved(self) -> bool:
        """Whether all that could be asked is proved: the root, signed where the validators are known; else the counts.

        Equal roots are of as many leaves, so counts say nothing beside them.
        """
        if self.root is None:
            return self.counts.is_proved
        return self.root.is_proved and (self.root.consensus is None or self.root.is_signed)

    @property
    def strength(self) -> str:
        """The strongest that is proved: consensus, root, counts, or nothing."""
        if self.root is not None and self.root.is_proved:
            return "consensus" if self.root.is_signed else "root"
        return "counts" if self.counts.is_proved else "nothing"

    @property
    def differing_fids(self) -> list[int]:
        """The FIDs in which we differ from the hub, but for what was taken from it."""
        return sorted({fid_of(one.prefix) for one in self.root.differing}) if self.root is not None else []

    def lines(self) -> Iterator[tuple[str, bool | None, str]]:
        """By strength: whether it is proved, None where it was not compared, and what was found."""
        yield "counts", *self._counted()
        yield "root", *self._rooted()
        yield "consensus", *self._agreed()

    def _counted(self) -> tuple[bool | None, str]:
        counts = self.counts
        if self.root is not None and self.root.is_proved:
            return True, f"{self.root.ours.leaf_count:,} leaves, as the root says"
        if not counts.is_comparable:
            return None, f"{counts.ours:,} leaves; the hub's {counts.told:,} are of height {counts.told_height}"
        if counts.is_proved:
            return True, f"{counts.ours:,} leaves, as the hub says at this height"
        return False, f"{counts.ours:,} leaves, the hub has {counts.told:,} at this height"

    def _rooted(self) -> tuple[bool | None, str]:
        root = self.root
        if root is None:
            return None, "no hub was asked: FC_HUB_GRPC is not set"
        if root.header is None:
            return None, f"the hub keeps no header of height {root.height}"
        ours = root.ours.hash.hex()[:_SHOWN_HASH_DIGITS]
        if not root.is_proved:
            theirs = root.header.shard_root.hex()[:_SHOWN_HASH_DIGITS]
            return False, f"{ours}…, the header has {theirs}…{_searched(root)}"
        taken = sum(one.theirs.leaf_count if one.theirs else 0 for one in root.taken)
        beside = f", with {taken} leaves that nothing read tells of, taken from the hub" if root.taken else ""
        return True, f"{ours}… is the header's shard_root{beside}"

    def _agreed(self) -> tuple[bool | None, str]:
        root = self.root
        if root is None or root.header is None:
            return None, "there is no header"
        if root.consensus is None:
            return None, "the header is the hub's word: FC_VALIDATORS is not set"
        found = root.consensus
        signed = f"{found.signed} of {found.validators} validators signed the header"
        return found.is_proved, "; ".join((signed, *found.objections))


def _searched(root: RootProof) -> str:
    """What is to be known of the search for differences."""
    if not root.is_whole_search:
        return f"; more may differ than was found by {root.requests} requests"
    return "" if root.differing else "; nothing differs from what the hub has by now: prove again"


def fid_of(prefix: bytes) -> int:
    """The FID whose keys begin so, by its lower 32 bits."""
    return int.from_bytes(prefix[1:FID_PREFIX_BYTES])


def described(one: Difference) -> str:
    """A difference in words: whose, of which type, and how many leaves each side has."""
    of_type = f" {leaf_type_name(one.prefix[FID_PREFIX_BYTES])}" if len(one.prefix) > FID_PREFIX_BYTES else ""
    ours, theirs = (0 if node is None else node.leaf_count for node in (one.ours, one.theirs))
    return f"FID {fid_of(one.prefix)}{of_type}: {ours} leaves here, {theirs} at the hub"
