"""A network of nine users in one hour, small enough to know every row: its follows, its sign-ups through an app.

Root 1 follows 2, 3 and 4 (in this order), 5 follows 4 and 6; 7 came through the app CLIENT and follows 8. User 9 is
nobody's: it replies to and likes what 2 cast, mentions 3, and follows 2.
"""

from base64 import b64encode

from fc_pipeline.hours import Hour
from fc_pipeline.sample_hub.log import EventLog
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    NOW,
    Event,
    Json,
    block,
    cast_add,
    chain_event,
    hex_hash,
    link,
    merge,
    merge_chain,
    merge_proof,
    proof,
    reaction,
    user_data,
)
from fc_pipeline_tests.support.logs import log_of
from fc_pipeline_tests.support.small_hub import registered

HOUR_OF_ALL = Hour(HOUR_UNIX)
CLIENT = 9152
USERS = range(1, 10)
FOLLOWS = {1: (2, 3, 4), 5: (4, 6), 7: (8,), 9: (2,)}
CASTS = {fid: cast_add(fid, f"cast of {fid}", NOW + fid) for fid in USERS}


def sign_up(fid: int, client_fid: int) -> Json:
    """The signer that an app asked for: metadata as hub-api 4.3 has it."""
    words = (0x20, client_fid, 0xABCDEF, 0x80, HOUR_UNIX + 86_400, 65)
    metadata = b"".join(word.to_bytes(32, "big") for word in words) + bytes(96)
    body = {
        "key": hex_hash("signer", fid) + "00" * 12,
        "keyType": 1,
        "eventType": "SIGNER_EVENT_TYPE_ADD",
        "metadata": b64encode(metadata).decode(),
        "metadataType": 1,
    }
    return chain_event("signer", fid, body, block=fid, log_index=1)


def network_of_nine() -> EventLog:
    """All of it: a block per user, then one with what 9 does to others."""
    lines: list[bytes] = []
    for height, fid in enumerate(USERS, start=1000):
        events: list[Event] = [
            merge_chain(registered(fid, fid)),
            merge_proof(proof(f"user{fid}", fid, HOUR_UNIX + fid)),
            merge(user_data(fid, "USERNAME", f"user{fid}", NOW + fid)),
            merge(CASTS[fid]),
            *(merge(link(fid, target, NOW + n)) for n, target in enumerate(FOLLOWS.get(fid, ()))),
        ]
        if fid == 7:
            events.append(merge_chain(sign_up(7, CLIENT)))
        lines += block(height, events, 1, HOUR_UNIX + height - 1000)
    cast_of_2 = {"fid": 2, "hash": CASTS[2]["hash"]}
    events = [
        merge(cast_add(9, "reply to 2", NOW + 20, parentCastId=cast_of_2)),
        merge(cast_add(9, "mention of 3", NOW + 21, mentions=[3], mentionsPositions=[0])),
        merge(reaction(9, (2, CASTS[2]["hash"]), timestamp=NOW + 22)),
    ]
    return log_of(lines, block(1000 + len(USERS), events, 1, HOUR_UNIX + 60))
