"""Username proofs per shard: an fname's proof has a copy on every shard, an ENS or Basename proof on its FID's own."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

__all__ = ["Names", "Proof"]

_ANY: Final = msgspec.json.Decoder()


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof object as it came, with what it is found by; `timestamp` is unix seconds.

    `message` is the signed message it came by, empty for an fname.
    """

    name: str
    fid: int
    type: str
    timestamp: int
    signature: str
    raw: bytes
    message: bytes = b""

    @property
    def identity(self) -> tuple[int, int, str]:
        """What tells two proofs of one name apart."""
        return self.fid, self.timestamp, self.signature

    @property
    def is_fname(self) -> bool:
        """An fname comes from the registry; all others are messages and count against storage."""
        return self.type == "USERNAME_TYPE_FNAME"


class Names:
    """The proof that each shard holds for a name (hub-api 7.5)."""

    def __init__(self) -> None:
        self._shards: dict[int, dict[str, Proof]] = {}
        self._by_fid: dict[int, dict[tuple[int, str], Proof]] = {}

    def apply(self, shard: int, merged: bytes, deleted: bytes, message: bytes = b"") -> None:
        """One MERGE_USERNAME_PROOF: what was deleted goes, what was merged takes its name; FID 0 releases the name.

        All are JSON, empty when absent; `message` is the one that carried the merged proof.
        """
        proofs = self._shards.setdefault(shard, {})
        if deleted and bytes(deleted) != b"null":
            gone = _proof(deleted)
            held = proofs.get(gone.name)
            if held is not None and held.identity == gone.identity:
                self._release(shard, gone.name)
        if merged and bytes(merged) != b"null":
            proof = _proof(merged, message)
            self._release(shard, proof.name)
            if proof.fid != 0:
                proofs[proof.name] = proof
                self._by_fid.setdefault(proof.fid, {})[shard, proof.name] = proof

    def _release(self, shard: int, name: str) -> None:
        proof = self._shards[shard].pop(name, None)
        if proof is not None:
            del self._by_fid[proof.fid][shard, name]

    def all_of(self, shard: int) -> list[Proof]:
        """Every proof that the shard holds."""
        return list(self._shards.get(shard, {}).values())

    def of_name(self, name: str, shards: list[int]) -> Proof | None:
        """The proof on the first of these shards that has one."""
        return next((self._shards[s][name] for s in shards if name in self._shards.get(s, {})), None)

    def of_fid(self, fid: int, shards: list[int]) -> list[Proof]:
        """Each shard's proofs of the FID, one shard after the other: fnames occur once per shard (hub-api T9)."""
        found: list[Proof] = []
        for shard in shards:
            mine = [proof for (place, _), proof in self._by_fid.get(fid, {}).items() if place == shard]
            found += sorted(mine, key=lambda proof: (not proof.is_fname, proof.timestamp))
        return found


def _proof(raw: bytes, message: bytes = b"") -> Proof:
    body: Any = _ANY.decode(raw)
    return Proof(body["name"], body["fid"], body["type"], body["timestamp"], body["signature"], raw, message)
