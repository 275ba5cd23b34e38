"""Keys that were added by a message (KEY_ADD), of which a hub's log has no trace (protocol-tables 1.2).

So what the KEY_ADD of a generated user said follows from the FID: the hub knows the key from its first message on.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX
from fc_pipeline.sample_hub.signing_keys import SigningKey, gasless_key

__all__ = ["ALL_SCOPES", "GIVES_UP", "LASTS", "STOPS", "GaslessKey", "GaslessKeys", "GeneratedKey", "generated_key"]

ALL_SCOPES: Final = (
    *(f"MESSAGE_TYPE_{kind}_{change}" for kind in ("CAST", "REACTION", "LINK") for change in ("ADD", "REMOVE")),
    "MESSAGE_TYPE_USER_DATA_ADD",
)
"""What generated keys may sign, in the order of the types' numbers."""

LASTS: Final = 0
STOPS: Final = 1
"""The user stops using it, so that it expires."""
GIVES_UP: Final = 2
"""It removes itself with its last use."""
_MOST_USES: Final = {STOPS: 5, GIVES_UP: 3}
_TTL_SECONDS: Final = {LASTS: 30 * 86_400, STOPS: 600, GIVES_UP: 86_400}

_ONE_IN: Final = 8
"""One user in so many has such a key."""
_FATES: Final = (LASTS, STOPS, GIVES_UP, LASTS)
_APP_FIDS: Final = (9152, 309_857)
_KEPT: Final = 1 << 14
_USE_NOTED_AFTER_SECONDS: Final = 300
"""A use moves `lastUsedAt` only if it is so much later."""


@dataclass(slots=True)
class GaslessKey:
    """One record of the hub; times are unix seconds."""

    key: str
    added_at: int
    last_used_at: int
    ttl: int
    scopes: tuple[str, ...]
    request_fid: int
    nonce: int


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """The gasless key of a generated user; `fate` is what becomes of it."""

    key: SigningKey
    fate: int
    request_fid: int

    @property
    def most_uses(self) -> int | None:
        """How many messages it signs; None for one that goes on."""
        return _MOST_USES.get(self.fate)


@lru_cache(_KEPT)
def generated_key(fid: int) -> GeneratedKey | None:
    """The key of a generated user, if it has one."""
    number, rest = divmod(fid, _ONE_IN)
    if rest != 3:
        return None
    return GeneratedKey(gasless_key(fid), _FATES[number % len(_FATES)], _APP_FIDS[number % len(_APP_FIDS)])


class GaslessKeys:
    """The hub's records by FID and key. Nothing sweeps expired ones."""

    def __init__(self) -> None:
        self._keys: defaultdict[int, dict[str, GaslessKey]] = defaultdict(dict)
        self._nonces: dict[int, int] = {}
        self._signed: defaultdict[tuple[int, str], set[str]] = defaultdict(set)

    def put(self, fid: int, key: GaslessKey) -> None:
        """A KEY_ADD was merged."""
        self._keys[fid][key.key] = key
        self._nonces[fid] = max(key.nonce, self._nonces.get(fid, 0))

    def remove(self, fid: int, key: str) -> None:
        """A KEY_REMOVE was merged, one that uses up no nonce of the user: nothing is left of the key."""
        self._keys[fid].pop(key, None)

    def note_use(self, message: Any) -> None:
        """A message was merged: the first trace of a generated key, and a use of any."""
        fid, signer = message["data"]["fid"], message["signer"]
        used_at = message["data"]["timestamp"] + FARCASTER_EPOCH_UNIX
        generated = _generated(fid, signer)
        if generated is not None:
            self._note_generated(fid, generated, used_at)
            self._signed[fid, signer].add(message["hash"])
        held = self._keys[fid].get(signer) if fid in self._keys else None
        if held is not None and used_at > held.last_used_at + _USE_NOTED_AFTER_SECONDS:
            held.last_used_at = used_at
        if generated is not None and generated.fate == GIVES_UP and self.uses(fid, signer) >= _MOST_USES[GIVES_UP]:
            self.remove(fid, signer)

    def _note_generated(self, fid: int, generated: GeneratedKey, used_at: int) -> None:
        key = generated.key.public
        if not self.uses(fid, key):
            ttl, nonce = _TTL_SECONDS[generated.fate], self.nonce_of(fid) + 1
            self.put(fid, GaslessKey(key, used_at, used_at, ttl, ALL_SCOPES, generated.request_fid, nonce))

    def of_fid(self, fid: int) -> list[GaslessKey]:
        """The FID's keys by their bytes, expired ones too."""
        return sorted(self._keys[fid].values(), key=lambda one: one.key) if fid in self._keys else []

    def nonce_of(self, fid: int) -> int:
        """The user's nonce: 0 where no key was ever added."""
        return self._nonces.get(fid, 0)

    def uses(self, fid: int, key: str) -> int:
        """How many messages a generated key has signed."""
        return len(self._signed.get((fid, key), ()))


def _generated(fid: int, signer: str) -> GeneratedKey | None:
    """The FID's generated key, if that is what signed."""
    generated = generated_key(fid)
    return generated if generated is not None and generated.key.public == signer else None
