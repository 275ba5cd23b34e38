"""True hashes and signatures of generated messages (node-db 5.3)."""

from binascii import b2a_base64
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from blake3 import blake3

from fc_pipeline.hub.message_values import values_in
from fc_pipeline.proof.message_schema import BODIES, Writing, encoded_data
from fc_pipeline.sample_hub.generator.world import User
from fc_pipeline.sample_hub.signing_keys import SigningKey, own_registry_key

__all__ = ["Signatures", "Signed"]

_MAINNET: Final = 1
_HASH_BYTES: Final = 20
_REMEMBERED: Final = 1 << 15
"""Two messages that say the same are made within seconds."""
_BY_NUMBER_ONE_IN: Final = 4
_BY_NUMBER: Final = Writing(by_number=True)
_AS_DECLARED: Final = Writing()


@dataclass(frozen=True, slots=True)
class Signed:
    """What signing makes of a message: its Farcaster second, 0x-hex hash, base64 signature."""

    timestamp: int
    hash: str
    signature: str


class Signatures:
    """Signs each user's messages. One user in four has a client that writes fields by number, as some do.

    `add_key` gives a user a key of ours, where the one in the registry was made elsewhere; `known` are hashes of
    messages that were there before.
    """

    def __init__(self, add_key: Callable[[User], None], known: Iterable[str] = ()) -> None:
        self._add_key = add_key
        self._recent = deque(known, maxlen=_REMEMBERED)
        self._hashes = set(self._recent)

    def key_of(self, user: User) -> SigningKey:
        """The user's key of the registry."""
        held = own_registry_key(user.fid, user.signer, user.registry_keys)
        if held is None:
            self._add_key(user)
            held = own_registry_key(user.fid, user.signer, user.registry_keys)
        if held is None:
            raise AssertionError(f"FID {user.fid} was given a key of another user")
        return held

    def sign(self, kind: str, fid: int, timestamp: int, body: str, key: SigningKey) -> Signed:
        """Sign a message, whose body is JSON; one that says what an earlier one said is of a later second.

        For it would be the same message, which a node merges once.
        """
        schema = BODIES[kind]
        values = values_in(schema.fields, msgspec.json.decode(f"{{{body}}}")[schema.name])
        writing = _AS_DECLARED if fid % _BY_NUMBER_ONE_IN else _BY_NUMBER
        while True:
            digest = blake3(encoded_data(kind, fid, timestamp, _MAINNET, values, writing)).digest(_HASH_BYTES)
            hash_hex = "0x" + digest.hex()
            if hash_hex not in self._hashes:
                break
            timestamp += 1
        self._remember(hash_hex)
        signature = b2a_base64(key.private.sign(digest), newline=False).decode()
        return Signed(timestamp, hash_hex, signature)

    def _remember(self, hash_hex: str) -> None:
        if len(self._recent) == _REMEMBERED:
            self._hashes.discard(self._recent[0])
        self._recent.append(hash_hex)
        self._hashes.add(hash_hex)
