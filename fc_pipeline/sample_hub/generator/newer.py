"""What came late to the protocol: channels, loans of some size, Pro, user data of new types (V5 to V21).

It has random numbers of its own, and its events come at the ends of blocks: a log is what it was without it, and more.
"""

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

from fc_pipeline.sample_hub.generator.communities import Communities
from fc_pipeline.sample_hub.generator.lending import Lending
from fc_pipeline.sample_hub.generator.moderating import Moderating
from fc_pipeline.sample_hub.generator.profiles import Profiles
from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.texts import Texts
from fc_pipeline.sample_hub.generator.world import World

__all__ = ["NewerTraffic"]

ACTIONS_PER_EVENT = 0.045
CHAIN = "eip155:8453/erc20"


class NewerTraffic:
    """Acts so often for each event of the other traffic."""

    def __init__(self, scribe: EventWriter, world: World, texts: Texts) -> None:
        self._scribe = scribe
        self._world = world
        self._profiles = Profiles(scribe, world, texts)
        self._lending = Lending(scribe, world, first=2, count=3)
        self.communities = Communities(scribe, world, self._profiles)
        moderating = Moderating(scribe, world, texts, self.communities)
        mix: list[tuple[float, Callable[[], None]]] = [
            (5.0, self.communities.found),
            (2.5, self.communities.verify_wallet),
            (0.8, self.communities.park),
            (1.0, self.communities.renew),
            (1.0, self.communities.hand_over),
            (18.0, self.communities.follow),
            (3.0, self.communities.unfollow),
            (6.0, moderating.configure),
            (22.0, moderating.change_member),
            (7.0, moderating.pin),
            (8.0, moderating.moderate),
            (8.0, self._lend),
            (7.0, self._subscribe),
            (5.0, self._go_live),
            (4.0, self._show_token),
        ]
        self._actions = [action for _, action in mix]
        self._weights = list(accumulate(weight for weight, _ in mix))
        self._owed = 0.0

    def follow(self, unix_seconds: int, events: int) -> None:
        """Act for so many events of the other traffic in the block of that time."""
        scribe = self._scribe
        scribe.begin(unix_seconds)
        self._owed += events * ACTIONS_PER_EVENT
        while self._owed >= 1:
            self._owed -= 1
            self._actions[bisect_right(self._weights, scribe.random() * self._weights[-1])]()

    def _lend(self) -> None:
        """Some units, other ones, or the end of a loan."""
        scribe, receiver = self._scribe, self._world.active(self._scribe.random)
        lender = self._lending.lender(receiver.fid)
        if lender is not None:
            units = 1 + scribe.below(5)
            self._lending.lend(lender, receiver, 0 if receiver.fid in lender.lends and scribe.random() < 0.5 else units)

    def _subscribe(self) -> None:
        self.communities.contracts.purchase_tier(self._world.active(self._scribe.random), 30)

    def _go_live(self) -> None:
        """LIVE_AT, and its end."""
        user = self._world.active(self._scribe.random)
        held = user.user_data.get("USER_DATA_TYPE_LIVE_AT")
        value = "" if held and held.value else f"https://live.example.com/{self._scribe.below(10_000)}"
        self._profiles.set_field(user, "USER_DATA_TYPE_LIVE_AT", value)

    def _show_token(self) -> None:
        user = self._world.active(self._scribe.random)
        self._profiles.set_field(user, "USER_DATA_TYPE_PROFILE_TOKEN", f"{CHAIN}:{self._scribe.hex(20)}")
