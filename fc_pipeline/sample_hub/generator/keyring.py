"""Gasless keys of generated users: who has one beside the key of the registry signs with both."""

from dataclasses import dataclass
from typing import Final

from fc_pipeline.sample_hub.gasless_keys import ALL_SCOPES, GeneratedKey, generated_key
from fc_pipeline.sample_hub.signing_keys import SigningKey

__all__ = ["KeyRing", "keyring_of"]

MAX_AGE_SECONDS: Final = 10
"""A message that was made long before its block could be older than the key."""


@dataclass(slots=True)
class KeyRing:
    """A user's gasless key, and how many messages it has signed."""

    generated: GeneratedKey
    uses: int = 0

    @property
    def key(self) -> SigningKey:
        """The key itself."""
        return self.generated.key

    def signs(self, kind: str, age_seconds: int, chance: int) -> bool:
        """Whether it signs a message of a type and an age: now and then, by a random byte."""
        most = self.generated.most_uses
        if f"MESSAGE_TYPE_{kind}" not in ALL_SCOPES or age_seconds > MAX_AGE_SECONDS or chance >= 64:
            return False
        if most is not None and self.uses >= most:
            return False
        self.uses += 1
        return True


def keyring_of(fid: int) -> KeyRing | None:
    """The keyring of a user, if it has one: no random number is drawn for it."""
    generated = generated_key(fid)
    return None if generated is None else KeyRing(generated)
