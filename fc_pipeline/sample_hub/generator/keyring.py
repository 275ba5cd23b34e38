"""Gasless keys of generated users: one user in eight has one beside the key of the registry, and signs with both."""

from dataclasses import dataclass
from typing import Final

from fc_pipeline.sample_hub.gasless_keys import ALL_SCOPES, GIVES_UP, LASTS, STOPS, generated_key, most_uses

__all__ = ["KeyRing", "keyring_of"]

_ONE_IN: Final = 8
_FATES: Final = (LASTS, STOPS, GIVES_UP, LASTS)
_APP_FIDS: Final = (9152, 309_857)
MAX_AGE_SECONDS: Final = 10
"""A message that was made long before its block could be older than the key."""


@dataclass(slots=True)
class KeyRing:
    """A user's gasless key, and how many messages it has signed."""

    key: str
    uses: int = 0

    def signs(self, kind: str, age_seconds: int, chance: int) -> bool:
        """Whether it signs a message of a type and an age: now and then, by a random byte."""
        most = most_uses(self.key)
        if f"MESSAGE_TYPE_{kind}" not in ALL_SCOPES or age_seconds > MAX_AGE_SECONDS or chance >= 64:
            return False
        if most is not None and self.uses >= most:
            return False
        self.uses += 1
        return True


def keyring_of(fid: int) -> KeyRing | None:
    """The keyring of a user, if it has one: no random number is drawn for it."""
    if fid % _ONE_IN != 3:
        return None
    number = fid // _ONE_IN
    return KeyRing(generated_key(fid, _FATES[number % len(_FATES)], _APP_FIDS[number % len(_APP_FIDS)]))
