"""What a user of a small hub may do next, at random."""

from random import Random
from typing import Any

from fc_pipeline.tables.link_compactions import SCOPED_SINCE
from fc_pipeline_tests.support.events import (
    HOUR_UNIX,
    Json,
    cast_add,
    cast_remove,
    chain_event,
    compact_state,
    link,
    proof,
    reaction,
    user_data,
    verification,
    verification_remove,
)

HOME = {1: (1, 2), 2: (3, 4)}
FIDS = (1, 2, 3, 4)
ADDRESSES = (("0x" + "a1" * 20, "ETHEREUM"), ("9WzDXwBbmkg8ZTbNMqUxvQRAyrZz", "SOLANA"))
NAME_TYPES = {"fname": "USERNAME_TYPE_FNAME", "ens": "USERNAME_TYPE_ENS_L1", "basename": "USERNAME_TYPE_BASENAME"}


def random_operation(rng: Random, fid: int, clock: int) -> Json:
    """Something that a user of this FID, its wallet or its hub may want; `clock` counts up, and some lag behind it."""
    at = SCOPED_SINCE + clock - rng.choice((0, 0, 0, 1, 3, 20))
    target: Any = rng.choice(((1, "0x" + "01" * 20), (4, "0x" + "04" * 20), "https://a.example"))
    other, kind = rng.choice(FIDS), rng.choice(("follow", "block"))
    address, protocol = rng.choice(ADDRESSES)
    text, cast_at = rng.choice(("x", "y")), SCOPED_SINCE + rng.choice((0, 1))
    operations = [
        lambda: cast_add(fid, text, cast_at),
        lambda: cast_remove(fid, cast_add(fid, text, cast_at)["hash"], at),
        lambda: reaction(fid, target, rng.choice(("LIKE", "RECAST")), at),
        lambda: reaction(fid, target, rng.choice(("LIKE", "RECAST")), at, add=False),
        lambda: link(fid, other, at, kind),
        lambda: link(fid, other, at, kind),
        lambda: link(fid, other, at, kind, add=False),
        lambda: compact_state(fid, rng.sample(FIDS, rng.choice((1, 2, 3))), at, kind),
        lambda: user_data(fid, rng.choice(("USERNAME", "BIO")), rng.choice(("", "a", "b")), at),
        lambda: verification(fid, address, at, protocol),
        lambda: verification_remove(fid, address, at, protocol),
        lambda: proof(rng.choice(("a.eth", "b.eth")), fid, HOUR_UNIX + clock, "ENS_L1"),
        lambda: chain_event("id_register", fid, {"to": "0x01", "eventType": "Transfer"}, block=clock),
        lambda: chain_event("signer", fid, {"key": "0x01", "eventType": "SIGNER_EVENT_TYPE_ADD"}, block=clock),
        lambda: {"prune": fid, "kind": rng.choice(("casts", "reactions", "links", "user_data"))},
    ]
    return rng.choice(operations)()
