"""A world read back from a hub's message sets, so that generated life goes on where a log ends."""

import msgspec

from fc_pipeline.sample_hub.chain_state import ChainEvents
from fc_pipeline.sample_hub.generator.world import RECENT_CASTS, RecentCast, Stored, StoredProof, User, World, shard_of
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


def world_of(state: HubState, shards: int) -> World:
    """The users who registered and still have a signer, with what they hold, and the newest casts."""
    world = World(shards)
    for fid in dict.fromkeys(state.chain.registered_fids()):
        user = _user(state.chain, fid, shards)
        if user is not None:
            world.add(user)
            _fill(user, state.fids.get(fid) or FidSets())
    for shard in range(1, shards + 1):
        for proof in state.names.all_of(shard):
            _take_proof(world, proof)
    _take_casts(world, state)
    return world


def highest_fid(state: HubState) -> int:
    """The highest FID that is registered or has posted; 0 for none."""
    return max((*state.chain.registered_fids(), *state.fids), default=0)


def _user(chain: ChainEvents, fid: int, shards: int) -> User | None:
    moves = [e for e in chain.of_fid(fid, "EVENT_TYPE_ID_REGISTER") if e.body["eventType"] != "ChangeRecovery"]
    signers = [e for e in chain.active_signer_events(fid) if e.body["eventType"] == "SIGNER_EVENT_TYPE_ADD"]
    if not moves or not signers:
        return None
    units = sum(event.body["units"] for event in chain.of_fid(fid, "EVENT_TYPE_STORAGE_RENT"))
    return User(fid, shard_of(fid, shards), moves[-1].body["to"], signers[-1].body["key"], storage_units=units)


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


def _stored(row: Row) -> Stored:
    raw = bytes(row.raw)
    data = _MESSAGE.decode(raw).data
    value = data.userDataBody.value if data.userDataBody else ""
    return Stored(row.timestamp, row.hash, raw.decode(), row.is_add, value)


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
