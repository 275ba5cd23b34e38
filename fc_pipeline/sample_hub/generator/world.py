"""What the generated network knows of itself: enough that every next event is one the protocol would accept."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from fc_pipeline.sample_hub.generator.keyring import KeyRing

__all__ = ["Community", "Copy", "RecentCast", "Stored", "StoredProof", "User", "World"]

RECENT_CASTS = 2048
"""Reactions, replies and quotes go to the newest casts, so only their reactions need to be remembered."""


@dataclass(slots=True)
class Stored:
    """A message in a set: Farcaster seconds, 0x-hex hash, its JSON, what it says in short, and whose it is."""

    timestamp: int
    hash: str
    json: str
    is_add: bool = True
    value: str = ""
    fid: int = 0


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


@dataclass(slots=True)
class Copy:
    """A verification that a shard which is not the FID's home holds since so many blocks."""

    message: Stored
    tick: int


def _recent() -> deque[Stored]:
    return deque(maxlen=12)


@dataclass(slots=True)
class User:
    """An FID with what it holds. `storage_units` grows as it posts; `messages` counts what counts against storage.

    `wallets` are verifications of addresses that own channels, `copies` the verifications that other shards hold,
    `follows` the likes of channels. `registry_keys` is how many keys it has added to the registry so far, `signer` the
    newest.
    """

    fid: int
    shard: int
    custody: str
    signer: str = ""
    registry_keys: int = 0
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
    keyring: KeyRing | None = None
    wallets: dict[str, Stored] = field(default_factory=dict[str, Stored])
    copies: dict[int, dict[str, Copy]] = field(default_factory=dict[int, dict[str, Copy]])
    follows: dict[str, Stored] = field(default_factory=dict[str, Stored])


@dataclass(slots=True)
class Community:
    """A channel: whose it is, and the message that holds each of its slots, with what it set.

    `owner` owns it while they have a live verification of its `wallet` (protocol-tables 3.2).
    """

    key: str
    channel_id: str
    wallet: str
    owner: User
    settings: Stored | None = None
    pin: Stored | None = None
    replaced_pin: Stored | None = None
    members: dict[int, Stored] = field(default_factory=dict[int, Stored])
    moderations: dict[str, Stored] = field(default_factory=dict[str, Stored])

    @property
    def is_parked(self) -> bool:
        """Nobody may speak for it."""
        held = self.owner.wallets.get(self.wallet)
        return held is None or not held.is_add

    def moderators(self) -> list[int]:
        """FIDs that may moderate, besides the owner."""
        return [fid for fid, held in self.members.items() if held.value == "MODERATOR"]


class World:
    """All users in the order in which they registered (the first are the most popular), and the newest casts."""

    def __init__(self, shards: int) -> None:
        self.shards = shards
        self.users: list[User] = []
        self.by_fid: dict[int, User] = {}
        self.casts: deque[RecentCast] = deque(maxlen=RECENT_CASTS)
        self.fnames: dict[str, StoredProof] = {}
        self.communities: list[Community] = []

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
