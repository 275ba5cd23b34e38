"""`/v1/storageLimitsByFid`: what an FID may store and does store (hub-api 6.4 and 7.3)."""

import json
from typing import Any, Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import json_answer
from fc_pipeline.sample_hub.chain_state import UNIT_TYPES, StorageUnits
from fc_pipeline.sample_hub.hub import SampleHub
from fc_pipeline.sample_hub.query import Query

__all__ = ["ENDPOINTS", "storage_limits_by_fid"]

LIMITS_PER_UNIT: Final[dict[str, tuple[int, int, int]]] = {
    "CASTS": (5000, 2000, 100),
    "LINKS": (2500, 1000, 200),
    "REACTIONS": (2500, 1000, 200),
    "USER_DATA": (50, 50, 25),
    "VERIFICATIONS": (25, 25, 5),
    "USERNAME_PROOFS": (5, 5, 2),
}
STORE_TYPES: Final = {
    "CASTS": "Casts",
    "LINKS": "Links",
    "REACTIONS": "Reactions",
    "USER_DATA": "UserData",
    "VERIFICATIONS": "Verifications",
    "USERNAME_PROOFS": "UsernameProofs",
}


def storage_limits_by_fid(hub: SampleHub, query: Query) -> Response:
    """Units rented, plus borrowed, minus lent; adds and removes both count as used."""
    fid = query.required_integer("fid")
    units = _units(hub, fid)
    used = _used(hub, fid)
    limits: list[dict[str, Any]] = [
        {
            "storeType": STORE_TYPES.get(name, "None"),
            "name": name,
            "limit": limit,
            "used": used[name],
            "earliestTimestamp": 0,
            "earliestHash": [],
        }
        for name, limit in (*_limits(units), ("STORAGE_LENDS", sum(units.values())))
    ]
    answer: dict[str, Any] = {
        "limits": limits,
        "units": sum(units.values()),
        "unitDetails": [{"unitType": kind, "unitSize": units[kind]} for kind in UNIT_TYPES],
        "tier_subscriptions": [{"tier_type": "Pro", "expires_at": hub.state.chain.pro_expires_unix(fid)}],
    }
    return json_answer(json.dumps(answer).encode())


def _limits(units: StorageUnits) -> list[tuple[str, int]]:
    return [
        (name, sum(size * units[kind] for size, kind in zip(sizes, UNIT_TYPES, strict=True)))
        for name, sizes in LIMITS_PER_UNIT.items()
    ]


def _units(hub: SampleHub, fid: int) -> StorageUnits:
    state = hub.state
    units = state.chain.rented_units(fid, hub.clock())
    for lender, sets in list(state.fids.items()):
        for receiver, row in sets.lends.items():
            count, kind = row.detail
            if fid in (lender, receiver) and lender != receiver:
                units[kind] = max(0, units[kind] + (count if fid == receiver else -count))
    return units


def _used(hub: SampleHub, fid: int) -> dict[str, int]:
    state = hub.state
    sets = state.fids.get(fid)
    proofs = state.names.of_fid(fid, [shard.shard for shard in hub.shards])
    own = {"USERNAME_PROOFS": sum(not proof.is_fname for proof in proofs)}
    if sets is None:
        return {**dict.fromkeys((*LIMITS_PER_UNIT, "STORAGE_LENDS"), 0), **own}
    return {
        "CASTS": len(sets.casts),
        "LINKS": len(sets.links) + len(sets.compact_states),
        "REACTIONS": len(sets.reactions),
        "USER_DATA": len(sets.user_data),
        "VERIFICATIONS": len(sets.verifications),
        "STORAGE_LENDS": sum(row.detail[0] for row in sets.lends.values()),
        **own,
    }


ENDPOINTS: Final = {"/v1/storageLimitsByFid": storage_limits_by_fid}
