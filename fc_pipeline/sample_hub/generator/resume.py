"""A world read back from a hub's message sets, so that generated life goes on where a log ends."""

import msgspec

from fc_pipeline.sample_hub.chain_state import ChainEvents
from fc_pipeline.sample_hub.channel_state import ASSET_PREFIX, LIKE, Slot
from fc_pipeline.sample_hub.gasless_keys import GaslessKeys
from fc_pipeline.sample_hub.generator.keyring import keyring_of
from fc_pipeline.sample_hub.generator.world import (
    RECENT_CASTS,
    Community,
    Copy,
    RecentCast,
    Stored,
    StoredProof,
    User,
    World,
)
from fc_pipeline.sample_hub.homes import shard_of
from fc_pipeline.sample_hub.name_state import Proof
from fc_pipeline.sample_hub.state import FidSets, HubState, Row

__all__ = ["highest_fid", "world_of"]


class _UserData(msgspec.Struct):
    value: str


class _Data(msgspec.Struct):
    timestamp: int
    userDataBody: _UserData | None = None


class _Message(msgspec.Struct):
    hash: str
    data: _Data


_MESSAGE = msgspec.json.Decoder(_Message)
_ADD = "SIGNER_EVENT_TYPE_ADD"


def world_of(state: HubState, shards: int) -> World:
    """The users who registered and still have a signer, with what they hold, and the newest casts."""
    world = World(shards)
    for fid in dict.fromkeys(state.chain.registered_fids()):
        user = _user(state.chain, fid, shards)
        if user is not None:
            world.add(user)
            _fill(user, state.fids.get(fid) or FidSets())
            _take_key(user, state.keys)
    for shard in range(1, shards + 1):
        for proof in state.names.all_of(shard):
            _take_proof(world, proof)
    _take_casts(world, state)
    _take_channels(world, state)
    for (shard, fid), rows in state.copies.items():
        if fid in world.by_fid:
            copies = {address: Copy(_stored(row), 0) for address, row in rows.items()}
            world.by_fid[fid].copies[shard] = copies
    return world


def highest_fid(state: HubState) -> int:
    """The highest FID that is registered or has posted; 0 for none."""
    return max((*state.chain.registered_fids(), *state.fids), default=0)


def _user(chain: ChainEvents, fid: int, shards: int) -> User | None:
    moves = [e for e in chain.of_fid(fid, "EVENT_TYPE_ID_REGISTER") if e.body["eventType"] != "ChangeRecovery"]
    signers = [e for e in chain.active_signer_events(fid) if e.body["eventType"] == _ADD]
    if not moves or not signers:
        return None
    units = sum(event.body["units"] for event in chain.of_fid(fid, "EVENT_TYPE_STORAGE_RENT"))
    return User(
        fid,
        shard_of(fid, shards),
        moves[-1].body["to"],
        signers[-1].body["key"],
        registry_keys=sum(event.body["eventType"] == _ADD for event in chain.of_fid(fid, "EVENT_TYPE_SIGNER")),
        storage_units=units,
    )


def _take_key(user: User, keys: GaslessKeys) -> None:
    """Its gasless key, if it has used one."""
    ring = keyring_of(user.fid)
    uses = keys.uses(user.fid, ring.key.public) if ring is not None else 0
    if ring is not None and uses:
        ring.uses = uses
        user.keyring = ring


def _fill(user: User, sets: FidSets) -> None:
    casts = sorted(sets.casts.values(), key=lambda row: row.timestamp)
    user.recent_casts.extend(_stored(row) for row in casts if row.is_add)
    user.cast_removes.extend(_stored(row) for row in casts if not row.is_add)
    user.messages = len(sets.casts) + len(sets.links) + len(sets.reactions)
    for key, row in sorted(sets.links.items(), key=lambda item: item[1].timestamp):
        user.links[key] = _stored(row)
    for link_type, row in sets.compact_states.items():
        user.compact_states[link_type] = _stored(row)
    for field, row in sets.user_data.items():
        user.user_data[field] = _stored(row)
    for address, row in sets.verifications.items():
        user.verifications[address] = _stored(row)
    for receiver, row in sets.lends.items():
        user.lends[receiver] = _stored(row)
    for (kind, target), row in sets.reactions.items():
        if kind == LIKE and isinstance(target, str) and target.lower().startswith(ASSET_PREFIX.lower()):
            user.follows[target] = _stored(row)


def _stored(row: Row) -> Stored:
    raw = bytes(row.raw)
    data = _MESSAGE.decode(raw).data
    value = data.userDataBody.value if data.userDataBody else ""
    return Stored(row.timestamp, row.hash, raw.decode(), row.is_add, value, row.fid)


def _held(slot: Slot, value: str = "") -> Stored:
    return Stored(slot.timestamp, _MESSAGE.decode(slot.message).hash, slot.message.decode(), True, value, slot.fid)


def _take_channels(world: World, state: HubState) -> None:
    """Channels with whoever owns them now; a parked one is anybody's who may verify its wallet next."""
    channels = state.channels
    for number, channel in enumerate(channels.registered):
        owner = world.by_fid.get(channels.owner_of(channel)) or world.users[number % len(world.users)]
        community = Community(channel.key, channel.channel_id, channel.owner_address, owner)
        settings, pin = channels.settings.get(channel.channel_id), channels.pins.get(channel.channel_id)
        community.settings = _held(settings) if settings else None
        community.pin = _held(pin, pin.value) if pin else None
        members, moderations = channels.members[channel.channel_id], channels.moderations[channel.channel_id]
        community.members = {fid: _held(slot, slot.value) for fid, slot in members.items() if fid in world.by_fid}
        action = len("CHANNEL_MODERATE_ACTION_")
        community.moderations = {cast: _held(slot, slot.value[action:]) for cast, slot in moderations.items()}
        world.communities.append(community)
        verified = owner.verifications.pop(channel.owner_address, None)
        if verified is not None:
            owner.wallets[channel.owner_address] = verified


def _take_proof(world: World, proof: Proof) -> None:
    text = bytes(proof.raw).decode()
    user = world.by_fid.get(proof.fid)
    if proof.is_fname:
        held = world.fnames.get(proof.name)
        if held is None or proof.timestamp > held.timestamp:
            world.fnames[proof.name] = StoredProof(proof.fid, proof.timestamp, text)
            if user is not None:
                user.fname = proof.name
    elif user is not None and proof.message:
        message = bytes(proof.message)
        head = _MESSAGE.decode(message)
        stored = Stored(head.data.timestamp, head.hash, message.decode())
        user.ens[proof.name] = StoredProof(proof.fid, proof.timestamp, text, stored)


def _take_casts(world: World, state: HubState) -> None:
    """The newest casts, and the reactions on them of users who can still take them back."""
    adds = [row for sets in state.fids.values() for row in sets.casts.values() if row.is_add]
    newest = sorted(adds, key=lambda row: row.timestamp)[-RECENT_CASTS:]
    recent = {row.hash: RecentCast(row.fid, row.hash) for row in newest}
    world.casts.extend(recent.values())
    for fid in world.by_fid:
        for (kind, target), row in (state.fids.get(fid) or FidSets()).reactions.items():
            cast = recent.get(target[1]) if isinstance(target, tuple) else None
            if cast is not None:
                cast.reactions[fid, kind.removeprefix("REACTION_TYPE_")] = _stored(row)
