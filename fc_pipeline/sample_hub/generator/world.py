"""What the generated network knows of itself: enough that every next event is one the protocol would accept."""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["RecentCast", "Stored", "StoredProof", "User", "World", "shard_of"]

RECENT_CASTS = 2048
"""Reactions, replies and quotes go to the newest casts, so only their reactions need to be remembered."""


def shard_of(fid: int, shards: int) -> int:
    """The home shard of an FID (hub-api 7.7)."""
    digest = hashlib.sha256((fid & 0xFFFFFFFF).to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big") % shards + 1


@dataclass(slots=True)
class Stored:
    """A message in a set: Farcaster seconds, 0x-hex hash, and its JSON."""

    timestamp: int
    hash: str
    json: str
    is_add: bool = True
    value: str = ""


@dataclass(slots=True)
class StoredProof:
    """A username proof: its JSON and unix second, and the signed message where it came by one."""

    fid: int
    timestamp: int
    json: str
    message: Stored | None = None


@dataclass(slots=True)
class RecentCast:
    """A cast that others may still react to, and the newest reaction per (fid, type) on it."""

    fid: int
    hash: str
    reactions: dict[tuple[int, str], Stored] = field(default_factory=dict[tuple[int, str], Stored])


def _recent() -> deque[Stored]:
    return deque(maxlen=12)


@dataclass(slots=True)
class User:
    """An FID with what it holds. `storage_units` grows as it posts; `messages` counts what counts against storage."""

    fid: int
    shard: int
    custody: str
    signer: str
    fname: str | None = None
    storage_units: int = 0
    messages: int = 0
    recent_casts: deque[Stored] = field(default_factory=_recent)
    cast_removes: deque[Stored] = field(default_factory=_recent)
    pruned: Stored | None = None
    links: dict[tuple[str, int], Stored] = field(default_factory=dict[tuple[str, int], Stored])
    compact_states: dict[str, Stored] = field(default_factory=dict[str, Stored])
    user_data: dict[str, Stored] = field(default_factory=dict[str, Stored])
    verifications: dict[str, Stored] = field(default_factory=dict[str, Stored])
    ens: dict[str, StoredProof] = field(default_factory=dict[str, StoredProof])
    lends: dict[int, Stored] = field(default_factory=dict[int, Stored])


class World:
    """All users in the order in which they registered (the first are the most popular), and the newest casts."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.users: list[User] = []
        self.by_fid: dict[int, User] = {}
        self.casts: deque[RecentCast] = deque(maxlen=RECENT_CASTS)
        self.fnames: dict[str, StoredProof] = {}

    def add(self, user: User) -> None:
        """A user who just registered."""
        self.users.append(user)
        self.by_fid[user.fid] = user

    def popular(self, random: Callable[[], float]) -> User:
        """A user drawn with a heavy skew to the first ones, as attention is."""
        return self.users[int(len(self.users) * random() ** 3)]

    def active(self, random: Callable[[], float]) -> User:
        """A user drawn with a milder skew, as activity is."""
        return self.users[int(len(self.users) * random() ** 2)]
