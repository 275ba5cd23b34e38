"""The by-FID endpoints: what the hub's message sets say of one FID, name or address (hub-api 6)."""

from collections.abc import Iterable
from typing import Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import Refusal, json_answer, json_list
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.paging import Keyed, Paging, encoded_token, page_of
from fc_pipeline.sample_hub.query import Query
from fc_pipeline.sample_hub.state import FidSets, Row

__all__ = ["ENDPOINTS"]

REACTION_TYPES: Final = ("None", "Like", "Recast")
EVENT_TYPES: Final = (
    "EVENT_TYPE_NONE",
    "EVENT_TYPE_SIGNER",
    "EVENT_TYPE_SIGNER_MIGRATED",
    "EVENT_TYPE_ID_REGISTER",
    "EVENT_TYPE_STORAGE_RENT",
    "EVENT_TYPE_TIER_PURCHASE",
    "EVENT_TYPE_CHANNEL_REGISTER",
)
UINT32: Final = 2**32 - 1
MESSAGES_PAGE_SIZE: Final = 10_000
"""Of lists of messages where none is asked for (hub-api 12)."""

# What precedes timestamp and hash in the node's keys, and thus in its tokens (node-db 2.2).
USER_PREFIX: Final = b"\x03"
CASTS, LINKS, REACTIONS, VERIFICATIONS, USER_DATA = (bytes([set_number]) for set_number in (1, 2, 3, 4, 6))
ID_REGISTRATIONS_PREFIX: Final = b"\x0c\x01\x03"


def sets_of(hub: SampleHub, fid: int) -> FidSets:
    """The FID's sets; empty ones for an FID that the hub never saw (an answer of 200, hub-api 6)."""
    return hub.state.fids.get(fid) or FidSets()


def hex_of(text: str, error: str) -> str:
    """A hex parameter as the hub writes it: `0x` and lower case. Raises Refusal where it is not hex."""
    digits = text.lower().removeprefix("0x")
    try:
        bytes.fromhex(digits)
    except ValueError as problem:
        raise Refusal(error, "InvalidArgument", f"invalid hex string: {problem}") from problem
    return "0x" + digits


def reaction_type_of(choice: str | None) -> str | None:
    """`Like` as messages name it; None for all types, which is what `None` asks for (hub-api T24)."""
    return None if choice in (None, "None") else f"REACTION_TYPE_{choice.upper()}"


def messages(query: Query, rows: Iterable[Row], error: str, set_number: bytes) -> Response:
    """A page of an FID's messages; the token's key is always there, empty at the end."""
    paging = Paging.of(query, error, MESSAGES_PAGE_SIZE)
    prefix = USER_PREFIX + (query.required_integer("fid") & UINT32).to_bytes(4, "big") + set_number
    page, last = page_of(rows, paging, _after(paging.token, prefix))
    return json_list("messages", (row.raw for row in page), "" if last is None else encoded_token(prefix + last))


def _after(token: bytes | None, prefix: bytes) -> bytes | None:
    """The key to go on after; of a token, nobody checks what it was given for."""
    return None if token is None else token[len(prefix) :]


def listing(name: str, page: Iterable[bytes], last: bytes | None) -> Response:
    """A page of anything but messages: the token's key is left out at the end."""
    return json_list(name, page, None if last is None else encoded_token(last))


def one_message(row: Row | None, error: str) -> Response:
    """A single message, adds only; what is not there is `cast not found`, whatever it is (hub-api 1.3)."""
    if row is None or not row.is_add:
        raise Refusal(error, "NotFound", "cast not found")
    return json_answer(row.raw)


def cast_by_id(hub: SampleHub, query: Query) -> Response:
    fid, cast_hash = query.required_integer("fid"), query.required_text("hash")
    error = "Failed to get cast"
    return one_message(sets_of(hub, fid).casts.get(hex_of(cast_hash, error)), error)


def casts_by_fid(hub: SampleHub, query: Query) -> Response:
    """Adds and removes mixed (hub-api T7); times are Farcaster seconds, both inclusive, cut to 32 bits (T5)."""
    rows = sets_of(hub, query.required_integer("fid")).casts.values()
    start = query.integer("start_timestamp", "startTimestamp")
    stop = query.integer("stop_timestamp", "stopTimestamp")
    low = 0 if start is None else start & UINT32
    high = UINT32 if stop is None else stop & UINT32
    return messages(query, (row for row in rows if low <= row.timestamp <= high), "Failed to get casts", CASTS)


def reaction_by_id(hub: SampleHub, query: Query) -> Response:
    fid = query.required_integer("fid")
    kind = reaction_type_of(query.required_choice("reaction_type", REACTION_TYPES))
    target_fid, target_hash = query.integer("target_fid"), query.text("target_hash")
    target: object = query.text("target_url") or None
    error = "Failed to get reaction"
    if target_fid is not None and target_hash:
        target = (target_fid, hex_of(target_hash, error))
    if target is None:
        raise Refusal("target not specified")
    return one_message(sets_of(hub, fid).reactions.get((kind, target)), error)


def reactions_by_fid(hub: SampleHub, query: Query) -> Response:
    rows = sets_of(hub, query.required_integer("fid")).reactions
    kind = reaction_type_of(query.required_choice("reaction_type", REACTION_TYPES))
    live = (row for key, row in rows.items() if row.is_add and kind in (None, key[0]))
    return messages(query, live, "Failed to get reactions", REACTIONS)


def link_by_id(hub: SampleHub, query: Query) -> Response:
    fid, link_type = query.required_integer("fid"), query.required_text("link_type")
    target_fid = query.integer("target_fid")
    if target_fid is None:
        raise Refusal("target not specified")
    return one_message(sets_of(hub, fid).links.get((link_type, target_fid)), "Failed to get link")


def links_by_fid(hub: SampleHub, query: Query) -> Response:
    rows = sets_of(hub, query.required_integer("fid")).links
    link_type = query.text("link_type") or None
    live = (row for key, row in rows.items() if row.is_add and link_type in (None, key[0]))
    return messages(query, live, "Failed to get links", LINKS)


def user_data_by_fid(hub: SampleHub, query: Query) -> Response:
    """`user_data_type` is ignored (hub-api 6.2)."""
    rows = sets_of(hub, query.required_integer("fid")).user_data.values()
    return messages(query, rows, "Failed to get user data", USER_DATA)


def verifications_by_fid(hub: SampleHub, query: Query) -> Response:
    """`address` is ignored (hub-api 6.2)."""
    rows = sets_of(hub, query.required_integer("fid")).verifications.values()
    return messages(query, (row for row in rows if row.is_add), "Failed to get verifications", VERIFICATIONS)


def username_proof_by_name(hub: SampleHub, query: Query) -> Response:
    """The first shard's that has one, which may not be the newest (hub-api T9)."""
    name = query.required_text("name")
    proof = hub.state.names.of_name(name, [shard.shard for shard in hub.shards])
    if proof is None:
        kind = "ENS username" if name.endswith(".eth") else "Username"
        raise Refusal("Failed to get username proof", "NotFound", f"{kind} proof not found")
    return json_answer(proof.raw)


def username_proofs_by_fid(hub: SampleHub, query: Query) -> Response:
    """Not paged; an fname once per shard."""
    fid = query.required_integer("fid")
    proofs = hub.state.names.of_fid(fid, [shard.shard for shard in hub.shards])
    return json_list("proofs", (proof.raw for proof in proofs))


def fids(hub: SampleHub, query: Query) -> Response:
    """`page_size` counts ID_REGISTER events, of which only the registrations are listed (hub-api 6.3)."""
    shard = hub.hosted(query.required_integer("shard_id", bits=32))
    error = "Failed to get fids"
    paging = Paging.of(query, error)
    if shard is None:
        raise Refusal(error, "InvalidArgument", "no shard store for fid")
    prefix = ID_REGISTRATIONS_PREFIX
    page, last = page_of(hub.state.chain.id_registers(shard.shard), paging, _after(paging.token, prefix))
    registered = (str(event.fid).encode() for event in page if event.is_registration)
    return listing("fids", registered, None if last is None else prefix + last)


def on_chain_signers_by_fid(hub: SampleHub, query: Query) -> Response:
    """`signer` is ignored (hub-api 6.2)."""
    rows: list[Keyed] = list(hub.state.chain.active_signer_events(query.required_integer("fid")))
    paging = Paging.of(query, "Failed to get on chain signers")
    page, last = page_of(rows, paging, paging.token)
    return listing("events", (event.raw for event in page), last)


def on_chain_events_by_fid(hub: SampleHub, query: Query) -> Response:
    """All at once: paging parameters are ignored."""
    fid, event_type = query.required_integer("fid"), query.required_choice("event_type", EVENT_TYPES)
    return json_list("events", (event.raw for event in hub.state.chain.of_fid(fid, event_type)))


def id_registry_event_by_address(hub: SampleHub, query: Query) -> Response:
    error = "Failed to get id registry event"
    event = hub.state.chain.id_register_to(hex_of(query.required_text("address"), error))
    if event is None:
        raise Refusal(error, "NotFound", "no id-registry event for address")
    return json_answer(event.raw)


ENDPOINTS: Final = {
    "/v1/fids": fids,
    "/v1/castById": cast_by_id,
    "/v1/castsByFid": casts_by_fid,
    "/v1/reactionById": reaction_by_id,
    "/v1/reactionsByFid": reactions_by_fid,
    "/v1/linkById": link_by_id,
    "/v1/linksByFid": links_by_fid,
    "/v1/userDataByFid": user_data_by_fid,
    "/v1/verificationsByFid": verifications_by_fid,
    "/v1/userNameProofByName": username_proof_by_name,
    "/v1/userNameProofsByFid": username_proofs_by_fid,
    "/v1/onChainSignersByFid": on_chain_signers_by_fid,
    "/v1/onChainEventsByFid": on_chain_events_by_fid,
    "/v1/onChainIdRegistryEventByAddress": id_registry_event_by_address,
}
