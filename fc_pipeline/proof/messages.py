"""Whether a signed message says what we hold of it: its hash is that of its data, and its signer signed the hash.

Clients encode the same message in a few ways; the one it was signed in is found by trying them (node-db 5.3).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import product
from typing import Any, Final

from blake3 import blake3

from fc_pipeline.proof.ed25519 import is_signed
from fc_pipeline.proof.message_schema import Writing, encoded_data

__all__ = ["NETWORKS", "Claim", "MessageProver", "Verdict"]

HASH_BYTES: Final = 20

NETWORKS: Final = {"mainnet": 1, "testnet": 2, "devnet": 3}
"""FarcasterNetwork, which every message names and no row holds."""

_WRITINGS: Final = tuple(Writing(*choices) for choices in product((False, True), repeat=3))


class Verdict(Enum):
    """What is known of a message."""

    PROVED = "proved"
    NO_ENCODING_HAS_THE_HASH = "no known encoding of what is stored has the hash"
    SIGNATURE_DOES_NOT_HOLD = "the signature does not hold"
    SIGNATURE_IS_NOT_STORED = "hash or signature is not stored"
    SIGNER_WAS_NO_KEY = "the signer was no key of this FID when the message was written"
    SIGNER_IS_OF_ANOTHER = "the signer is a key of another FID, and none that is known of this one"
    SIGNER_IS_NOT_READ = "the signer is not known here: the user's keys were not read since"
    SIGNER_IS_NOT_TOLD = (
        "the signer is not known here, and hubs do not tell of it: a removed gasless key leaves no trace"
    )
    SIGNER_IS_NOT_KEPT = "the signer is not known here: only targets' keys are kept"
    IS_STORED_WITHOUT_NUL = "U+0000 was taken out of a text, which Postgres cannot hold: not to be proved from the row"

    @property
    def is_open(self) -> bool:
        """Whether nothing that is to be had here could decide it: such a message is counted apart."""
        return self in (Verdict.SIGNER_IS_NOT_TOLD, Verdict.SIGNER_IS_NOT_KEPT, Verdict.IS_STORED_WITHOUT_NUL)


@dataclass(frozen=True, slots=True)
class Claim:
    """A message as it is held: `kind` is its type without `MESSAGE_TYPE_`, `timestamp` in Farcaster seconds.

    `bodies` are what it may have said, where that cannot be told from what is held: one of them has to fit.
    """

    kind: str
    fid: int
    timestamp: int
    bodies: Iterable[Mapping[str, Any]]
    hash: bytes | None
    signer: bytes | None
    signature: bytes | None


class MessageProver:
    """Proves messages of one network, or finds out of which; what explained the last one of a kind is tried first."""

    def __init__(self, networks: Sequence[int] = tuple(NETWORKS.values())) -> None:
        self._all: Final = [(network, writing) for writing in _WRITINGS for network in networks]
        self._by_kind: dict[str, list[tuple[int, Writing]]] = {}

    def verdict(self, claim: Claim) -> Verdict:
        """What is known of a message."""
        if not claim.hash or not claim.signer or not claim.signature:
            return Verdict.SIGNATURE_IS_NOT_STORED
        try:
            is_explained = self._explains_hash(claim)
        except ValueError:  # what no message can say
            is_explained = False
        if not is_explained:
            return Verdict.NO_ENCODING_HAS_THE_HASH
        if not is_signed(claim.hash, claim.signature, claim.signer):
            return Verdict.SIGNATURE_DOES_NOT_HOLD
        return Verdict.PROVED

    def _explains_hash(self, claim: Claim) -> bool:
        forms = self._by_kind.setdefault(claim.kind, list(self._all))
        for body in claim.bodies:
            for place, (network, writing) in enumerate(forms):
                data = encoded_data(claim.kind, claim.fid, claim.timestamp, network, body, writing)
                if blake3(data).digest(HASH_BYTES) == claim.hash:
                    forms.insert(0, forms.pop(place))
                    return True
        return False
