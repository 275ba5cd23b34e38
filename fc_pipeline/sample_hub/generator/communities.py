"""Channels: who registers them, who owns them and who follows them (protocol V21)."""

from fc_pipeline.sample_hub.channel_state import asset_url
from fc_pipeline.sample_hub.generator.contracts import BASE, Contracts
from fc_pipeline.sample_hub.generator.keccak import keccak256
from fc_pipeline.sample_hub.generator.profiles import Profiles
from fc_pipeline.sample_hub.generator.scribe import EventWriter
from fc_pipeline.sample_hub.generator.texts import CHANNELS
from fc_pipeline.sample_hub.generator.world import Community, User, World

__all__ = ["Communities"]

YEAR_SECONDS = 365 * 86_400
MAX_COMMUNITIES = 400
FIRST_LOG = 500_000
"""Logs of these contracts in a block are numbered from here, so that they have no number of another contract's."""


class Communities:
    """Registers channels, and has their owners verify the wallets that hold them."""

    def __init__(self, scribe: EventWriter, world: World, profiles: Profiles) -> None:
        self._scribe = scribe
        self._world = world
        self._profiles = profiles
        self.contracts = Contracts(scribe, first_log=FIRST_LOG)

    def some(self) -> Community | None:
        """A channel, the first ones more often; None before there is one."""
        communities = self._world.communities
        return communities[int(len(communities) * self._scribe.random() ** 2)] if communities else None

    def found(self) -> None:
        """A channel of a word, sometimes capital or not of ASCII; its minting precedes its registration."""
        scribe = self._scribe
        word = CHANNELS[scribe.below(len(CHANNELS))]
        name = (word, word.title(), f"{word}-caf\u00e9", f"{word}{scribe.below(100)}")[scribe.below(4)]
        taken = any(one.key == name for one in self._world.communities)
        if taken or len(self._world.communities) >= MAX_COMMUNITIES:
            return
        owner, wallet = self._world.active(scribe.random), scribe.hex(20)
        self._contract(self.contracts, owner, "TRANSFER", name, wallet)
        self.register(owner, name, wallet, self.contracts)
        if scribe.random() < 0.8:
            self.claim(self._world.communities[-1])

    def register(self, owner: User, name: str, wallet: str, contracts: Contracts) -> None:
        """CHANNEL_REGISTER; it is parked until its owner verifies the wallet."""
        self._contract(contracts, owner, "REGISTER", name, wallet)
        self._world.communities.append(Community(name, _id_of(name), wallet, owner))
        self._hint(name, wallet, "REGISTER")

    def renew(self) -> None:
        """For a year from now."""
        community = self.some()
        if community is not None:
            self._contract(self.contracts, community.owner, "RENEW", community.key, "0x")

    def hand_over(self) -> None:
        """To a new wallet, which mostly somebody else verifies soon."""
        community = self.some()
        if community is None:
            return
        community.owner, community.wallet = self._world.active(self._scribe.random), self._scribe.hex(20)
        self._contract(self.contracts, community.owner, "TRANSFER", community.key, community.wallet)
        self._hint(community.key, community.wallet, "TRANSFER")

    def verify_wallet(self) -> None:
        """A parked channel gets its owner, or the owner verifies once more."""
        parked = [community for community in self._world.communities if community.is_parked]
        community = parked[0] if parked else self.some()
        if community is not None:
            self.claim(community)

    def claim(self, community: Community) -> None:
        """The owner verifies the wallet."""
        self._profiles.put_verification(community.owner, community.owner.wallets, community.wallet)
        self._hint(community.key, community.wallet, "VERIFICATION_ADD")

    def park(self) -> None:
        """The owner takes the verification back."""
        community = self.some()
        if community is not None and not community.is_parked:
            self._profiles.remove_verification(community.owner, community.owner.wallets, community.wallet)
            self._hint(community.key, community.wallet, "VERIFICATION_REMOVE")

    def follow(self) -> None:
        """A like of the channel's asset; now and then spelt so that it is none (protocol-tables 3.5)."""
        community = self.some()
        if community is None:
            return
        url = asset_url(community.channel_id)
        if self._scribe.random() < 0.05:
            url = url.lower()
        self._react(self._world.active(self._scribe.random), url, is_add=True)

    def unfollow(self) -> None:
        """REACTION_REMOVE of a like that is still there."""
        user = self._world.active(self._scribe.random)
        url = next((url for url, held in user.follows.items() if held.is_add), None)
        if url is not None:
            self._react(user, url, is_add=False)

    def _react(self, user: User, url: str, *, is_add: bool) -> None:
        scribe, held = self._scribe, user.follows.pop(url, None)
        body = f'"reactionBody":{{"type":"REACTION_TYPE_LIKE","targetUrl":"{url}"}}'
        moment = scribe.moment(held.timestamp if held else -1)
        message = scribe.message(user, "REACTION_ADD" if is_add else "REACTION_REMOVE", moment, body, is_add=is_add)
        user.follows[url] = message
        scribe.merge(user, message, held.json if held else "")

    def _contract(self, contracts: Contracts, user: User, change: str, name: str, address: str) -> None:
        """Of the registrar: a transfer names the channel by its label alone (protocol-tables 3.1)."""
        is_transfer = change == "TRANSFER"
        expiry = 0 if is_transfer else self._scribe.now + YEAR_SECONDS
        body = (
            f'"channelRegisterEventBody":{{"channelKey":"{"" if is_transfer else name}","expiry":{expiry},'
            f'"ownerAddress":"{address}","eventType":"CHANNEL_REGISTER_EVENT_TYPE_{change}","label":"{_id_of(name)}"}},'
        )
        contracts.emit(user, "CHANNEL_REGISTER", body, chain_id=BASE, is_global=True)

    def _hint(self, name: str, address: str, cause: str) -> None:
        """CHANNEL_OWNER_CHANGE_HINT, on every shard."""
        body = f'{{"channelKey":"{name}","ownerAddress":"{address}","cause":"CHANNEL_OWNER_CHANGE_CAUSE_{cause}"}}'
        for shard in range(1, self._world.shards + 1):
            self._scribe.emit_later(shard, "CHANNEL_OWNER_CHANGE_HINT", f'"channelOwnerChangeHintBody":{body}')


def _id_of(name: str) -> str:
    return "0x" + keccak256(name.encode()).hex()
