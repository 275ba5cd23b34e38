"""`/v1/storageLimitsByFid`: what an FID may store and does store (hub-api 6.4 and 7.3)."""

from typing import Any, Final

from starlette.responses import Response

from fc_pipeline.sample_hub.answers import json_object
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
    """Units rented, plus borrowed, minus lent; adds and removes both count as used.

    Of loans, the limit is what was rented, and used are those given and those taken (hub-api 12).
    """
    fid = query.required_integer("fid")
    rented = hub.state.chain.rented_units(fid, hub.clock())
    units = _units(hub, fid, rented)
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
        for name, limit in (*_limits(units), ("STORAGE_LENDS", sum(rented.values())))
    ]
    answer: dict[str, Any] = {
        "limits": limits,
        "units": sum(units.values()),
        "unitDetails": [{"unitType": kind, "unitSize": units[kind]} for kind in UNIT_TYPES],
        "tier_subscriptions": [{"tier_type": "Pro", "expires_at": hub.state.chain.pro_expires_unix(fid)}],
    }
    return json_object(answer)


def _limits(units: StorageUnits) -> list[tuple[str, int]]:
    return [
        (name, sum(size * units[kind] for size, kind in zip(sizes, UNIT_TYPES, strict=True)))
        for name, sizes in LIMITS_PER_UNIT.items()
    ]


def _lends(hub: SampleHub, fid: int) -> list[tuple[int, int, str, int]]:
    """Lender, receiver, type and units of each loan that the FID has given or taken."""
    fids = hub.state.fids
    own = fids[fid].lends if fid in fids else {}
    given = [(fid, receiver, row) for receiver, row in list(own.items())]
    lenders = hub.state.lenders.get(fid, set()) - {fid}
    taken = [(lender, fid, fids[lender].lends[fid]) for lender in sorted(lenders) if fid in fids[lender].lends]
    return [(lender, receiver, row.detail[1], row.detail[0]) for lender, receiver, row in given + taken]


def _units(hub: SampleHub, fid: int, rented: StorageUnits) -> StorageUnits:
    """Net units: 32 bits without a sign, so that who lent more than is left of the rents has billions of them."""
    units = dict(rented)
    for lender, receiver, kind, count in _lends(hub, fid):
        units[kind] += (count if fid == receiver else 0) - (count if fid == lender else 0)
    return {kind: count % 2**32 for kind, count in units.items()}


def _used(hub: SampleHub, fid: int) -> dict[str, int]:
    state = hub.state
    sets = state.fids.get(fid)
    proofs = state.names.of_fid(fid, [shard.shard for shard in hub.shards])
    own = {
        "USERNAME_PROOFS": sum(not proof.is_fname for proof in proofs),
        "STORAGE_LENDS": len(_lends(hub, fid)),
    }
    if sets is None:
        return {**dict.fromkeys(LIMITS_PER_UNIT, 0), **own}
    return {
        "CASTS": len(sets.casts),
        "LINKS": len(sets.links) + len(sets.compact_states),
        "REACTIONS": len(sets.reactions),
        "USER_DATA": len(sets.user_data),
        "VERIFICATIONS": len(sets.verifications),
        **own,
    }


ENDPOINTS: Final = {"/v1/storageLimitsByFid": storage_limits_by_fid}
