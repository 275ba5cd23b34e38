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
    """The proof that each shard holds for a name (hub-api 7.5), and the one fname that it lists for an FID (T9)."""

    def __init__(self) -> None:
        self._shards: dict[int, dict[str, Proof]] = {}
        self._listed_fname: dict[tuple[int, int], str] = {}
        self._ens: dict[int, dict[tuple[int, str], Proof]] = {}

    def apply(self, shard: int, merged: bytes, deleted: bytes, message: bytes = b"") -> None:
        """One MERGE_USERNAME_PROOF: what was deleted goes, what was merged takes its name.

        A released fname is kept with FID 0. All are JSON, empty when absent; `message` is the one that carried the
        merged proof.
        """
        proofs = self._shards.setdefault(shard, {})
        if deleted and bytes(deleted) != b"null":
            gone = _proof(deleted)
            held = proofs.get(gone.name)
            if held is not None and held.identity == gone.identity and not (merged and bytes(merged) != b"null"):
                self._drop(shard, proofs.pop(gone.name))
        if merged and bytes(merged) != b"null":
            proof = _proof(merged, message)
            held = proofs.get(proof.name)
            proofs[proof.name] = proof
            if not proof.is_fname:
                self._ens.setdefault(proof.fid, {})[shard, proof.name] = proof
            elif proof.fid != 0:
                self._listed_fname[shard, proof.fid] = proof.name
            # After it is written: a renewal for the same FID deletes its own entry of the list.
            if held is not None:
                self._drop(shard, held, replaced_by=proof)

    def _drop(self, shard: int, gone: Proof, replaced_by: Proof | None = None) -> None:
        """Take a proof out of its FID's list; of fnames whichever is there, as the list has one entry."""
        if gone.is_fname:
            self._listed_fname.pop((shard, gone.fid), None)
        elif replaced_by is None or replaced_by.fid != gone.fid:
            del self._ens[gone.fid][shard, gone.name]

    def all_of(self, shard: int) -> list[Proof]:
        """Every proof that the shard holds, those of released names (of FID 0) too."""
        return list(self._shards.get(shard, {}).values())

    def of_name(self, name: str, shards: list[int]) -> Proof | None:
        """The proof on the first of these shards that has one."""
        return next((self._shards[s][name] for s in shards if name in self._shards.get(s, {})), None)

    def of_fid(self, fid: int, shards: list[int]) -> list[Proof]:
        """ENS and Basename proofs, then each shard's one fname of the FID: it occurs once per shard (hub-api T9).

        Of several fnames all but one are hidden, and of a renewed one there may be none.
        """
        ens = [proof for (shard, _), proof in self._ens.get(fid, {}).items() if shard in shards]
        listed = [(shard, self._listed_fname[shard, fid]) for shard in shards if (shard, fid) in self._listed_fname]
        fnames = [self._shards[shard].get(name) for shard, name in listed]
        return [*sorted(ens, key=lambda proof: proof.timestamp), *(proof for proof in fnames if proof is not None)]


def _proof(raw: bytes, message: bytes = b"") -> Proof:
    body: Any = _ANY.decode(raw)
    return Proof(body["name"], body["fid"], body["type"], body["timestamp"], body["signature"], raw, message)
