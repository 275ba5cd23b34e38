"""Keys that were added by a message (KEY_ADD), of which a hub's log has no trace (protocol-tables 1.2).

So a generated key itself says what its KEY_ADD said: the hub knows it by its first bytes, from its first message on.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final

from fc_pipeline.hub.wire import FARCASTER_EPOCH_UNIX

__all__ = ["ALL_SCOPES", "GIVES_UP", "LASTS", "STOPS", "GaslessKey", "GaslessKeys", "generated_key", "most_uses"]

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

_MARK: Final = b"gasless"
_KEY_BYTES: Final = 32
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


def generated_key(fid: int, fate: int, request_fid: int) -> str:
    """The key of a generated user, 0x-hex; `fate` is what becomes of it."""
    head = _MARK + bytes([fate]) + request_fid.to_bytes(4, "big")
    return "0x" + (head + hashlib.sha256(f"key of {fid}".encode()).digest())[:_KEY_BYTES].hex()


def _read(key: str) -> tuple[int, int] | None:
    """Fate and app of a generated key; None for any other."""
    raw = bytes.fromhex(key.removeprefix("0x"))
    if len(raw) != _KEY_BYTES or not raw.startswith(_MARK):
        return None
    return raw[len(_MARK)], int.from_bytes(raw[len(_MARK) + 1 : len(_MARK) + 5], "big")


def most_uses(key: str) -> int | None:
    """How many messages a generated key signs; None for one that goes on."""
    read = _read(key)
    return _MOST_USES.get(read[0]) if read else None


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
        read = _read(signer)
        if read is not None:
            self._note_generated(fid, signer, used_at, *read)
            self._signed[fid, signer].add(message["hash"])
        held = self._keys[fid].get(signer) if fid in self._keys else None
        if held is not None and used_at > held.last_used_at + _USE_NOTED_AFTER_SECONDS:
            held.last_used_at = used_at
        if read is not None and read[0] == GIVES_UP and self.uses(fid, signer) >= _MOST_USES[GIVES_UP]:
            self.remove(fid, signer)

    def _note_generated(self, fid: int, key: str, used_at: int, fate: int, request_fid: int) -> None:
        if not self.uses(fid, key):
            nonce = self.nonce_of(fid) + 1
            self.put(fid, GaslessKey(key, used_at, used_at, _TTL_SECONDS[fate], ALL_SCOPES, request_fid, nonce))

    def of_fid(self, fid: int) -> list[GaslessKey]:
        """The FID's keys by their bytes, expired ones too."""
        return sorted(self._keys[fid].values(), key=lambda one: one.key) if fid in self._keys else []

    def nonce_of(self, fid: int) -> int:
        """The user's nonce: 0 where no key was ever added."""
        return self._nonces.get(fid, 0)

    def uses(self, fid: int, key: str) -> int:
        """How many messages a generated key has signed."""
        return len(self._signed.get((fid, key), ()))
